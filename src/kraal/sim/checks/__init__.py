"""What must hold, whatever happens: each module watches one promise."""
