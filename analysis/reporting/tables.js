// A table can be sorted by any column and copied into a spreadsheet. The page is whole without this.
for (const table of document.querySelectorAll(".scroll table")) {
  const body = table.tBodies[0], heads = [...table.querySelectorAll("th")];
  const value = (row, i) => {
    const text = (row.cells[i] ? row.cells[i].textContent : "").trim();
    const plain = text.replace(/[\s\u2009]/g, "").replace(/^[<>+]/, "").replace(/%.*$/, "");
    return /^-?\d*\.?\d+(e-?\d+)?$/.test(plain) ? Number(plain) : text;
  };
  heads.forEach((head, i) => {
    let up = false;
    head.tabIndex = 0;
    head.title = "sort";
    const sort = () => {
      up = !up;
      const rows = [...body.rows].map((row) => [value(row, i), row]);
      rows.sort(([a], [b]) => {
        const both = typeof a === "number" && typeof b === "number";
        const order = both ? a - b : typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;
        return up ? order : -order;
      });
      rows.forEach(([, row]) => body.append(row));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    };
    head.onclick = sort;
    head.onkeydown = (event) => { if (event.key === "Enter") sort(); };
  });
  const copy = document.createElement("button");
  copy.textContent = "copy";
  copy.className = "copy";
  copy.onclick = async () => {
    const lines = [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join("\t"));
    try { await navigator.clipboard.writeText(lines.join("\n")); copy.textContent = "copied"; }
    catch (error) { getSelection().selectAllChildren(table); copy.textContent = "selected: press Ctrl-C"; }
  };
  table.parentElement.before(copy);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
