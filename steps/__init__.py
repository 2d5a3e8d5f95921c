"""One plain function for each stage of the pipeline. A flow puts them in order; every rule lives in the wheel."""
