"""The languages that scoring clients speak, one file each: rows from requests, answers and errors in kind."""
