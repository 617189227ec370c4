"""GDAL, as it is in the wheel of rasterio, of which nothing else is used: signs a request to the endpoint given."""

import ctypes
import sys
from importlib.metadata import distribution

wheel = distribution("rasterio")
library = next(file for file in wheel.files if file.name.startswith("libgdal"))
gdal = ctypes.CDLL(str(wheel.locate_file(library)))
if sys.argv[1:] == ["--version"]:
    gdal.GDALVersionInfo.restype = ctypes.c_char_p
    print("GDAL", gdal.GDALVersionInfo(b"RELEASE_NAME").decode())
else:
    endpoint = sys.argv[1].removeprefix("http://")
    for name, value in [("AWS_S3_ENDPOINT", endpoint), ("AWS_HTTPS", "NO"), ("AWS_VIRTUAL_HOSTING", "FALSE")]:
        gdal.CPLSetConfigOption(name.encode(), value.encode())
    gdal.VSIFOpenL.restype = ctypes.c_void_p
    print("opened" if gdal.VSIFOpenL(b"/vsis3/bucket/key", b"rb") else "not opened")
