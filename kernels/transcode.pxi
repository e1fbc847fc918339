# transcode kernels
