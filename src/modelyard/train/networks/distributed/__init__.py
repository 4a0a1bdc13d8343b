"""Several processes that learn one network together: started, watched and started again on this machine."""
