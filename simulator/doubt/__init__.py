"""What is not known of users: worlds as plausible as the fitted one, what the best slates know."""
