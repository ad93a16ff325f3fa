"""Other ways to do the same work on the same weights, each called as well as its documentation says."""
