"""What is known about well-known distributions: which import comes from which, and what is loaded without an import.

Only distributions that are widely used and that a program of this kind may need stand here. A name that is not here
is never taken on trust: it comes from the model's list, or is marked as a guess.
"""

from __future__ import annotations

from typing import Final

DIFFERENT_NAME: Final[dict[str, str]] = {
    "Bio": "biopython",
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "IPython": "ipython",
    "Levenshtein": "levenshtein",
    "MySQLdb": "mysqlclient",
    "OpenGL": "pyopengl",
    "OpenSSL": "pyopenssl",
    "PyPDF2": "pypdf2",
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "airflow": "apache-airflow",
    "apache_beam": "apache-beam",
    "attr": "attrs",
    "azure.core": "azure-core",
    "azure.cosmos": "azure-cosmos",
    "azure.data.tables": "azure-data-tables",
    "azure.eventhub": "azure-eventhub",
    "azure.identity": "azure-identity",
    "azure.keyvault.secrets": "azure-keyvault-secrets",
    "azure.servicebus": "azure-servicebus",
    "azure.storage.blob": "azure-storage-blob",
    "azure.storage.filedatalake": "azure-storage-file-datalake",
    "azure.storage.queue": "azure-storage-queue",
    "barcode": "python-barcode",
    "bayes_opt": "bayesian-optimization",
    "bs4": "beautifulsoup4",
    "bson": "pymongo",
    "cairo": "pycairo",
    "cassandra": "cassandra-driver",
    "cv2": "opencv-python-headless",  # the other builds need a display's system libraries
    "dask.array": "dask[array]",
    "dask.bag": "dask[bag]",
    "dask.dataframe": "dask[dataframe]",
    "dask.distributed": "dask[distributed]",
    "databricks.sdk": "databricks-sdk",
    "databricks.sql": "databricks-sql-connector",
    "dateutil": "python-dateutil",
    "decouple": "python-decouple",
    "delta": "delta-spark",
    "discord": "discord-py",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fbprophet": "prophet",
    "ffmpeg": "ffmpeg-python",
    "fitz": "pymupdf",
    "fpdf": "fpdf2",
    "frontmatter": "python-frontmatter",
    "git": "gitpython",
    "github": "pygithub",
    "gitlab": "python-gitlab",
    "gnupg": "python-gnupg",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.aiplatform": "google-cloud-aiplatform",
    "google.cloud.bigquery": "google-cloud-bigquery",
    "google.cloud.bigquery_storage": "google-cloud-bigquery-storage",
    "google.cloud.bigtable": "google-cloud-bigtable",
    "google.cloud.firestore": "google-cloud-firestore",
    "google.cloud.language": "google-cloud-language",
    "google.cloud.logging": "google-cloud-logging",
    "google.cloud.pubsub": "google-cloud-pubsub",
    "google.cloud.pubsub_v1": "google-cloud-pubsub",
    "google.cloud.secretmanager": "google-cloud-secret-manager",
    "google.cloud.spanner": "google-cloud-spanner",
    "google.cloud.speech": "google-cloud-speech",
    "google.cloud.storage": "google-cloud-storage",
    "google.cloud.translate": "google-cloud-translate",
    "google.cloud.vision": "google-cloud-vision",
    "google.genai": "google-genai",
    "google.generativeai": "google-generativeai",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "google_auth_oauthlib": "google-auth-oauthlib",
    "googleapiclient": "google-api-python-client",
    "gridfs": "pymongo",
    "grpc": "grpcio",
    "grpc_tools": "grpcio-tools",
    "ibis": "ibis-framework",
    "imblearn": "imbalanced-learn",
    "impala": "impyla",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "kafka": "kafka-python",
    "ldap": "python-ldap",
    "lightning_fabric": "lightning",
    "magic": "python-magic",
    "memcache": "python-memcached",
    "mpl_toolkits": "matplotlib",
    "mysql": "mysql-connector-python",
    "nacl": "pynacl",
    "netCDF4": "netcdf4",
    "odf": "odfpy",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry": "opentelemetry-api",
    "osgeo": "gdal",
    "pdfminer": "pdfminer-six",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "prestodb": "presto-python-client",
    "psycopg": "psycopg[binary]",  # without a system's libpq
    "psycopg2": "psycopg2-binary",  # psycopg2 itself has no wheels for Linux
    "pylab": "matplotlib",
    "pythoncom": "pywin32",
    "pywt": "pywavelets",
    "rest_framework": "djangorestframework",
    "ruamel": "ruamel-yaml",
    "serial": "pyserial",
    "skbio": "scikit-bio",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skopt": "scikit-optimize",
    "sksurv": "scikit-survival",
    "slack_sdk": "slack-sdk",
    "slugify": "python-slugify",
    "snappy": "python-snappy",
    "snowflake.connector": "snowflake-connector-python",
    "snowflake.snowpark": "snowflake-snowpark-python",
    "snowflake.sqlalchemy": "snowflake-sqlalchemy",
    "socks": "pysocks",
    "speech_recognition": "speechrecognition",
    "stdnum": "python-stdnum",
    "surprise": "scikit-surprise",
    "talib": "ta-lib",
    "telegram": "python-telegram-bot",
    "tlz": "toolz",
    "umap": "umap-learn",
    "usb": "pyusb",
    "websocket": "websocket-client",
    "win32api": "pywin32",
    "win32com": "pywin32",
    "wx": "wxpython",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
    "zope.interface": "zope-interface",
}
"""Distribution by the dotted path that is imported from it; the longest path decides."""

SAME_NAME: Final = frozenset(
    """
    absl_py accelerate adlfs aiofiles aiohttp alembic altair anndata annoy anthropic anyio apscheduler arch arrow
    astropy asyncpg attrs authlib avro babel backoff bcrypt bidict bitarray blake3 bleach bokeh boltons boto3
    botocore bottleneck brotli cachetools cartopy catboost category_encoders cattrs certifi cffi chardet
    charset_normalizer click clickhouse_connect clickhouse_driver cloudpickle cmdstanpy colorama coloredlogs
    confluent_kafka contourpy croniter cryptography cssselect cupy cvxpy cycler cython cytoolz dacite dash dask
    datasets dateparser deap deepdiff defusedxml deltalake dill diskcache distributed django docker docopt docutils
    duckdb einops elasticsearch email_validator emoji evaluate faker fastapi fastavro fastexcel fastparquet
    feature_engine feedparser filelock fiona fire flask folium formulaic frozendict fsspec ftfy fuzzywuzzy gcsfs
    gensim geopandas geopy gmpy2 gradio graphviz great_expectations greenlet gspread gymnasium h3 h5netcdf h5py
    haversine hdbscan html2text html5lib httpx huggingface_hub humanize hyperopt hypothesis icalendar idna igraph
    imageio implicit inflect intervaltree ipywidgets isodate itsdangerous jax jaydebeapi jellyfish jinja2 jmespath
    joblib jsonlines jsonpatch jsonpath_ng jsonpickle jsonschema kaleido keras keyring kiwisolver langchain
    langchain_core langdetect langgraph ldap3 librosa lifelines lightgbm lightning lime linearmodels litellm
    llvmlite loguru lxml lz4 mako markdown markupsafe marshmallow matplotlib mesa mistune mlflow mlxtend mmh3 modin
    more_itertools motor moviepy mpmath msgpack msgspec multidict mutagen nameparser natsort neo4j networkx nibabel
    nilearn nltk num2words numba numexpr numpy numpy_financial oauthlib ollama omegaconf onnx onnxruntime openai
    openpyxl opt_einsum optax optuna oracledb orjson ortools osmnx packaging pandas pandas_datareader pandas_gbq
    pandasql pandera paramiko parsel passlib patsy pdf2image pdfplumber peewee pendulum phonenumbers pika pingouin
    pint platformdirs plotly pmdarima polars pooch prettytable prometheus_client prophet psutil pulp py7zr pyarrow
    pycountry pydantic pydantic_settings pydicom pydot pydub pygments pyhive pymc pymongo pymssql pymupdf pymysql
    pynndescent pyod pyodbc pyogrio pyomo pyparsing pypdf pypdf2 pypdfium2 pyproj pyreadstat pysam pyspark
    pytesseract pytest python_calamine pytorch_lightning pytz pyvis pyxlsb qrcode rapidfuzz rarfile rasterio ray
    rdkit recordlinkage redis referencing regex reportlab requests requests_oauthlib requests_toolbelt retry rich
    rtree s3fs safetensors scanpy scapy schedule schema scikit_posthocs scipy scrapy seaborn selenium
    sentence_transformers sentencepiece shap shapely shortuuid simple_salesforce simplejson simpy six sktime
    smart_open snowballstemmer sortedcontainers soundfile spacy splink sqlalchemy sqlglot sqlmodel sqlparse
    starlette statsforecast statsmodels streamlit stripe structlog sympy tables tabulate tenacity tensorflow
    termcolor textblob textdistance thefuzz threadpoolctl tifffile tiktoken timm tldextract tokenizers toml tomli
    tomli_w tomlkit toolz torch torchaudio torchmetrics torchvision tornado tqdm transformers trimesh trino tsfresh
    tslearn typeguard typer typing_extensions tzdata tzlocal ujson uncertainties unidecode urllib3 usaddress uvicorn
    vaderSentiment validators vobject wandb watchdog weasyprint websockets werkzeug word2number wordcloud wrapt
    xarray xgboost xlrd xlsxwriter xlwt xmltodict xxhash yarl ydata_profiling yellowbrick yfinance zarr zstandard
    """.split()  # noqa: SIM905 - words in a row read better than three hundred lines
)
"""Modules that come from the distribution of their own name."""

BETTER_NAME: Final[dict[str, str]] = {
    "beautifulsoup": "beautifulsoup4",
    "opencv-contrib-python": "opencv-contrib-python-headless",
    "opencv-python": "opencv-python-headless",
    "pandas-profiling": "ydata-profiling",
    "pil": "pillow",
    "psycopg2": "psycopg2-binary",
    "pycrypto": "pycryptodome",
}
"""Distributions that are asked for by habit, and what has to be installed in their place."""

ALTERNATIVES: Final[dict[str, frozenset[str]]] = {
    "cv2": frozenset({"opencv-contrib-python-headless"}),
    "faiss": frozenset({"faiss-gpu"}),
    "kafka": frozenset({"kafka-python-ng"}),
    "tensorflow": frozenset({"tensorflow-cpu"}),
}
"""Other distributions that provide an import; one that is asked for stands in for the usual one."""

LOADED_BY: Final[dict[str, frozenset[str]]] = {
    "adlfs": frozenset({"fsspec", "pandas", "polars"}),
    "bottleneck": frozenset({"pandas", "xarray"}),
    "duckdb-engine": frozenset({"sqlalchemy"}),
    "fastexcel": frozenset({"polars"}),
    "fastparquet": frozenset({"dask", "pandas"}),
    "gcsfs": frozenset({"fsspec", "pandas", "polars"}),
    "h5netcdf": frozenset({"xarray"}),
    "html5lib": frozenset({"bs4", "pandas"}),
    "jinja2": frozenset({"pandas"}),
    "kaleido": frozenset({"plotly"}),
    "lxml": frozenset({"bs4", "docx", "pandas"}),
    "matplotlib": frozenset({"geopandas", "networkx", "pandas", "statsmodels", "xarray"}),
    "netcdf4": frozenset({"xarray"}),
    "numba": frozenset({"pandas"}),
    "numexpr": frozenset({"pandas"}),
    "odfpy": frozenset({"pandas"}),
    "openpyxl": frozenset({"pandas", "polars"}),
    "pandas": frozenset({"duckdb", "plotly", "polars", "pyarrow", "pyspark"}),
    "pillow": frozenset({"docx", "imageio", "matplotlib", "openpyxl", "pptx", "reportlab", "xlsxwriter"}),
    "psycopg": frozenset({"pandas", "sqlalchemy"}),
    "psycopg2-binary": frozenset({"pandas", "sqlalchemy"}),
    "pyarrow": frozenset({"dask", "duckdb", "geopandas", "modin", "pandas", "polars"}),
    "pymysql": frozenset({"pandas", "sqlalchemy"}),
    "pyogrio": frozenset({"geopandas"}),
    "pyreadstat": frozenset({"pandas"}),
    "python-calamine": frozenset({"pandas"}),
    "pyxlsb": frozenset({"pandas"}),
    "s3fs": frozenset({"fsspec", "pandas", "polars"}),
    "scipy": frozenset({"networkx", "pandas", "seaborn", "xarray"}),
    "sqlalchemy": frozenset({"pandas", "polars"}),
    "statsmodels": frozenset({"plotly", "seaborn"}),
    "tables": frozenset({"pandas"}),
    "tabulate": frozenset({"pandas"}),
    "xlrd": frozenset({"pandas"}),
    "xlsxwriter": frozenset({"pandas", "polars"}),
    "zstandard": frozenset({"pandas"}),
}
"""Distributions that are used without being imported, and the modules that load them."""

NEEDED_FOR_CALL: Final[dict[str, dict[str, str]]] = {
    "pandas": {
        **dict.fromkeys(
            ["ArrowDtype", "read_feather", "read_orc", "read_parquet", "to_feather", "to_orc", "to_parquet"], "pyarrow"
        ),
        **dict.fromkeys(["ExcelFile", "ExcelWriter", "read_excel", "to_excel"], "openpyxl"),
        **dict.fromkeys(["read_html", "read_xml", "to_xml"], "lxml"),
        **dict.fromkeys(["HDFStore", "read_hdf", "to_hdf"], "tables"),
        **dict.fromkeys(["Styler", "background_gradient", "highlight_max", "highlight_min", "to_latex"], "jinja2"),
        "read_spss": "pyreadstat",
        "plot": "matplotlib",
        "to_markdown": "tabulate",
        "to_xarray": "xarray",
        "tz_convert": "tzdata",
        "tz_localize": "tzdata",
    },
    "polars": {
        "read_excel": "fastexcel",
        "to_arrow": "pyarrow",
        "to_pandas": "pandas pyarrow",
        "write_excel": "xlsxwriter",
    },
    "duckdb": {"arrow": "pyarrow", "df": "pandas", "fetchdf": "pandas", "to_df": "pandas"},
    "zoneinfo": {"ZoneInfo": "tzdata"},
}
"""What a call needs that is not imported: by the module that has to be imported, then by the attribute's name."""

ENGINES: Final[dict[str, str]] = {
    "calamine": "python-calamine",
    "fastparquet": "fastparquet",
    "h5netcdf": "h5netcdf",
    "netcdf4": "netcdf4",
    "numba": "numba",
    "numexpr": "numexpr",
    "odf": "odfpy",
    "openpyxl": "openpyxl",
    "pyarrow": "pyarrow",
    "pyxlsb": "pyxlsb",
    "xlrd": "xlrd",
    "xlsxwriter": "xlsxwriter",
}
"""Distribution by the word that selects it in `engine=...` or `dtype_backend=...`."""
