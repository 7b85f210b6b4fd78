"""Plans of a deploy: settings to a plan, its faults, its run step by step, its journal."""
