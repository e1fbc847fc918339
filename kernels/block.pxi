# block kernels
