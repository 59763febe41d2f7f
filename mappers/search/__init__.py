"""What all searches share: spaces of candidates, objectives, Pareto fronts, budgets and the record of a search."""
