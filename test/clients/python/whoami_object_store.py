"""The object_store crate, by its Python binding obstore: signs a request to the endpoint given."""

import sys
from importlib.metadata import version

if sys.argv[1:] == ["--version"]:
    print("obstore", version("obstore"))
else:
    import obstore
    from obstore.store import S3Store

    try:
        store = S3Store(
            "bucket",
            endpoint=sys.argv[1],
            region="eu-west-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        obstore.head(store, "key")
    except Exception as error:
        print(error)
