# cseg kernels
