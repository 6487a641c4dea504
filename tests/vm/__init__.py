"""The kernel and laboratory tests inside virtual machines that run other kernels: `make vm-test`."""
