"""`headgate lab redteam`: attacks of our own making against a configuration, with a model that obeys the attacker."""
