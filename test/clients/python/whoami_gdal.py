"""GDAL, as it is in the wheel of rasterio, of which nothing else is used: signs a request to the endpoint given."""

import ctypes
import os
import sys
from importlib.metadata import distribution

wheel = distribution("rasterio")
library = wheel.locate_file(next(file for file in wheel.files if file.name.startswith("libgdal")))
if "LD_LIBRARY_PATH" not in os.environ:
    # Its libraries lie beside it, where only rasterio's own modules look for them.
    os.environ["LD_LIBRARY_PATH"] = str(library.parent)
    os.execv(sys.executable, [sys.executable, *sys.argv])
gdal = ctypes.CDLL(str(library))
if sys.argv[1:] == ["--version"]:
    gdal.GDALVersionInfo.restype = ctypes.c_char_p
    print("GDAL", gdal.GDALVersionInfo(b"RELEASE_NAME").decode())
else:
    endpoint = sys.argv[1].removeprefix("http://")
    for name, value in [("AWS_S3_ENDPOINT", endpoint), ("AWS_HTTPS", "NO"), ("AWS_VIRTUAL_HOSTING", "FALSE")]:
        gdal.CPLSetConfigOption(name.encode(), value.encode())
    gdal.VSIFOpenL.restype = ctypes.c_void_p
    file = gdal.VSIFOpenL(b"/vsis3/bucket/key", b"rb")
    print("opened" if file else "not opened")
    if file:
        # It asks for the file only when something is read.
        gdal.VSIFReadL(ctypes.create_string_buffer(16), ctypes.c_size_t(1), ctypes.c_size_t(16), ctypes.c_void_p(file))
