# downsample kernels
