"""From a program to the distributions that it needs."""

from __future__ import annotations

import pytest

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.packages.distributions import detect, detect_packages
from flyteplugins.codegen.packages.errors import InvalidRequirementError
from flyteplugins.codegen.packages.imports import imported_modules
from flyteplugins.codegen.packages.spec import environment_spec, python_version


def test_imports_are_found_wherever_they_stand_and_the_standard_library_is_taken_out() -> None:
    code = """
import json, os.path, pandas as pd
from . import helper
from .other import thing
from sklearn.linear_model import LinearRegression
def later():
    if True:
        import yaml
    import importlib
    importlib.import_module("bs4")
try:
    import distutils, tomllib, cgi
except ImportError:
    pass
"""
    assert imported_modules(code) == ("bs4", "pandas", "sklearn", "yaml")


def test_code_that_does_not_parse_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        imported_modules("import (")


@pytest.mark.parametrize(
    ("statement", "distribution"),
    [
        ("import cv2", "opencv-python-headless"),
        ("import sklearn", "scikit-learn"),
        ("from PIL import Image", "pillow"),
        ("import yaml", "pyyaml"),
        ("from bs4 import BeautifulSoup", "beautifulsoup4"),
        ("from dateutil import parser", "python-dateutil"),
        ("import psycopg2.extras", "psycopg2-binary"),
        ("import MySQLdb", "mysqlclient"),
        ("import attr", "attrs"),
        ("from Crypto.Cipher import AES", "pycryptodome"),
        ("from google.cloud import storage", "google-cloud-storage"),
        ("import google.cloud.bigquery as bq", "google-cloud-bigquery"),
        ("from google.protobuf.message import Message", "protobuf"),
        ("from ruamel.yaml import YAML", "ruamel-yaml"),
        ("import dask.dataframe as dd", "dask[dataframe]"),
        ("from mpl_toolkits.mplot3d import Axes3D", "matplotlib"),
        ("import sentence_transformers", "sentence-transformers"),
    ],
)
def test_an_import_comes_from_the_distribution_that_is_known_for_it(statement: str, distribution: str) -> None:
    found = detect(statement)
    assert found.packages == (distribution,)
    assert found.guessed == ()


@pytest.mark.parametrize(
    ("call", "needed"),
    [
        ("pd.read_parquet('x')", ("pandas", "pyarrow")),
        ("frame.to_parquet('x', engine='fastparquet')", ("fastparquet", "pandas")),
        ("frame.to_excel('x')", ("openpyxl", "pandas")),
        ("frame.to_excel('x', engine='xlsxwriter')", ("pandas", "xlsxwriter")),
        ("pd.read_html('x')", ("lxml", "pandas")),
        ("frame.to_markdown()", ("pandas", "tabulate")),
        ("pd.read_feather('x')", ("pandas", "pyarrow")),
        ("pd.read_csv('x', dtype_backend='pyarrow')", ("pandas", "pyarrow")),
        ("frame.to_csv('x')", ("pandas",)),
    ],
)
def test_what_pandas_loads_without_an_import_is_needed_too(call: str, needed: tuple[str, ...]) -> None:
    assert detect_packages(f"import pandas as pd\nframe = pd.DataFrame()\n{call}") == needed


def test_a_call_of_that_name_needs_nothing_where_pandas_is_not_imported() -> None:
    assert detect_packages("class T:\n    def to_parquet(self): ...\nT().to_parquet()") == ()


def test_the_models_list_gives_versions_and_extras_of_what_is_imported() -> None:
    assert detect_packages("import pandas\nimport sqlalchemy", ["Pandas [excel] >=2.2, <4", "SQLAlchemy==2.0.30"]) == (
        "pandas[excel]<4,>=2.2",
        "sqlalchemy==2.0.30",
    )


def test_the_users_versions_win_over_the_models() -> None:
    assert detect_packages("import pandas", ["pandas==1.5"], ["pandas>=2.2", "numpy"]) == ("numpy", "pandas>=2.2")


def test_what_nothing_imports_is_dropped_with_the_reason_and_engines_stay() -> None:
    found = detect("import pandas", ["requests", "pyarrow", "json", "XlsxWriter>=3"])
    assert found.packages == ("pandas", "pyarrow", "xlsxwriter>=3")
    assert set(found.dropped) == {"requests", "json"}
    assert "imports" in found.dropped["requests"]


def test_names_that_are_asked_for_by_habit_become_the_ones_that_install() -> None:
    assert detect_packages("import sklearn, cv2, bs4", ["sklearn==0.0", "opencv-python==4.5", "BS4"]) == (
        "beautifulsoup4",
        "opencv-python-headless",
        "scikit-learn",
    )


def test_an_import_that_nothing_is_known_of_is_a_guess() -> None:
    found = detect("import pandas\nimport quite_new.part")
    assert found.packages == ("pandas", "quite-new")
    assert found.guessed == ("quite-new",)


@pytest.mark.parametrize("suggestion", ["quite-new>=1", "python-quite-new", "quite-new-part", "unlike-name-sdk"])
def test_an_import_that_nothing_is_known_of_takes_the_models_name_for_it(suggestion: str) -> None:
    found = detect("import quite_new.part", [suggestion])
    assert found.packages == (suggestion,)
    assert found.guessed == ()


@pytest.mark.parametrize(
    "place",
    [
        "pandas @ https://host.invalid/pandas.whl",
        "pandas @ file:///etc/passwd",
        "git+https://host.invalid/pandas",
        "./pandas",
        "-e .",
        "--index-url https://host.invalid/simple",
        "pandas --index-url https://host.invalid/simple",
        "pandas\n--extra-index-url https://host.invalid",
        "pandas (for the tables)",
        "",
    ],
)
def test_a_model_does_not_choose_where_code_is_fetched_from(place: str) -> None:
    found = detect("import pandas", [place])
    assert found.packages == ("pandas",)
    assert list(found.dropped) == [place]


def test_a_requirement_of_the_users_that_is_none_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(InvalidRequestError, match=r"base_packages.*--pre"):
        detect("import pandas", (), ["--pre pandas"])


def test_a_spec_is_the_same_however_it_is_written() -> None:
    one = environment_spec("3.11", ["Scikit_Learn>=1", "pandas[excel,aws] < 4,>=2"], ["libgomp1", "gdal-bin"])
    other = environment_spec(
        "3.11", ["pandas[aws,excel]>=2,<4", "scikit-learn >= 1", "scikit-learn>=1"], ["gdal-bin", "libgomp1"]
    )
    assert one == other
    assert one.key == other.key
    assert one.packages == ("pandas[aws,excel]<4,>=2", "scikit-learn>=1")


@pytest.mark.parametrize("name", ["lib gomp", "-o=x", "LibGomp", "x;rm", "", "../x"])
def test_a_name_that_apt_has_not_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequirementError):
        environment_spec("3.11", [], [name])


def test_the_python_version_is_the_chosen_one() -> None:
    assert python_version((3, 12)) == "3.12"
