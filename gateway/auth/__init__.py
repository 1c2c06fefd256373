"""Who may do what: passwords, sessions, tokens, roles and scopes. Knows no HTTP."""
