# The hot path: DVID block -> compressed_segmentation, palette by palette; voxels never exist as
# labels. The bytes are those that `cseg_encode` gives for the decoded, mapped voxels.
