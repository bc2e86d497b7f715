"""Networks, losses, transforms, inferers and engines that the bundles share."""

import logging
import warnings

__version__ = "0.1.0"

# MONAI's LoadImage says this whenever pydicom is installed without NVIDIA's optional decoder for it.
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader: nvImageCodec decoder plugin did not register")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
