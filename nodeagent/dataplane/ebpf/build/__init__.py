"""From source to what the kernel loads: headers, the compiler, and the compiled objects, which are kept."""
