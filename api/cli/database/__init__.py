"""`causeway db`: the control plane's database around its life."""
