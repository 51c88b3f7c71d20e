"""All runs of a folder side by side: settings that differ, verdicts, lifts."""
