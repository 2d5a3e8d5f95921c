"""What must hold before anything is trained: settings, data and model fit together. Add your own tests beside it."""
