"""The rules of the script that need no run: they find what is wrong, and nothing on ordinary scripts."""

from __future__ import annotations

import textwrap

import pytest

from flyteplugins.codegen.checks.static import static_findings
from flyteplugins.codegen.core.contract import Contract

SALES = Contract(inputs={"sales": "File", "threshold": "float"}, outputs={"total": "float"}, samples=("sales",))

GOOD = """
import argparse
import csv
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description="Adds up what was sold.")
    parser.add_argument("--sales", required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    with open(args.sales, newline="") as stream:
        total = sum(float(row["amount"]) for row in csv.DictReader(stream) if float(row["amount"]) > args.threshold)
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(total))


if __name__ == "__main__":
    main()
"""


def good(**changes: str) -> str:
    """The good script with pieces of it replaced: `good(old="new")` for each pair in `PIECES`."""
    code = GOOD
    for name, new in changes.items():
        old = PIECES[name]
        assert old in code
        code = code.replace(old, new)
    return code


PIECES = {
    "imports": "import csv\n",
    "sales_option": '    parser.add_argument("--sales", required=True)\n',
    "threshold_option": '    parser.add_argument("--threshold", type=float, required=True)\n',
    "outputs_option": '    parser.add_argument("--outputs", default="/var/outputs")\n',
    "parse": "    args = parser.parse_args()\n",
    "write": '    (folder / "total").write_text(str(total))\n',
    "guard": 'if __name__ == "__main__":\n    main()\n',
    "folder": "    folder = Path(args.outputs)\n",
    "define": "def main():\n",
    "mkdir": "    folder.mkdir(parents=True, exist_ok=True)\n",
}

ORDINARY = {
    "as it is": GOOD,
    "exit status from main": good(
        guard='if __name__ == "__main__":\n    raise SystemExit(main())\n', imports="import csv\n"
    ),
    "sys.exit around main": good(
        imports="import csv\nimport sys\n", guard='if __name__ == "__main__":\n    sys.exit(main())\n'
    ),
    "guard the other way round": good(guard="if '__main__' == __name__:\n    main()\n"),
    "argv as a parameter": good(
        imports="import csv\nimport sys\n",
        define="def main(argv=None):\n",
        parse="    args = parser.parse_args(sys.argv[1:] if argv is None else argv)\n",
    ),
    "main gets the parsed arguments": good(
        define="def main(argv: list[str] | None = None) -> int:\n",
        guard='if __name__ == "__main__":\n    raise SystemExit(main())\n',
    ),
    "errors caught around main": good(
        imports="import csv\nimport sys\n",
        guard=(
            'if __name__ == "__main__":\n    try:\n        main()\n    except ValueError as error:\n'
            "        print(error, file=sys.stderr)\n        sys.exit(2)\n"
        ),
    ),
    "default in a constant": good(
        imports='import csv\nDEFAULT_OUTPUTS = "/var/outputs"\n',
        outputs_option='    parser.add_argument("--outputs", default=DEFAULT_OUTPUTS)\n',
    ),
    "default as a path": good(
        outputs_option='    parser.add_argument("--outputs", type=Path, default=Path("/var/outputs"), metavar="DIR")\n'
    ),
    "short aliases": good(
        sales_option='    parser.add_argument("-s", "--sales", required=True, help="the file")\n',
        outputs_option='    parser.add_argument("-o", "--outputs", dest="out", default="/var/outputs")\n',
        folder="    folder = Path(args.out)\n",
    ),
    "options in a loop": good(
        sales_option='    for name, kind in {"sales": str, "threshold": float}.items():\n'
        '        parser.add_argument(f"--{name}", type=kind, required=True)\n',
        threshold_option="",
    ),
    "arguments as a dict": good(
        parse="    args = vars(parser.parse_args())\n",
        folder='    folder = Path(args["outputs"])\n',
    ),
    "outputs written in a loop": good(
        write='    for name, value in {"total": total}.items():\n        (folder / name).write_text(str(value))\n'
    ),
    "outputs as keyword arguments": good(
        write="    save(folder, total=total)\n",
        guard=(
            "def save(folder, **values):\n    for name, value in values.items():\n"
            "        (folder / name).write_text(str(value))\n\n\n" + PIECES["guard"]
        ),
    ),
    "os.path.join": good(
        imports="import csv\nimport os\n",
        write='    with open(os.path.join(args.outputs, "total"), "w") as stream:\n        stream.write(str(total))\n',
    ),
    "an f-string path": good(write='    open(f"{folder}/total", "w").write(str(total))\n'),
    "a dataclass of results": good(
        write="    for name, value in vars(Result(total)).items():\n        (folder / name).write_text(str(value))\n",
        define="class Result:\n    total: float\n\n    def __init__(self, total):\n        self.total = total\n\n\n"
        "def main():\n",
    ),
    "a column called password_resets": good(
        write='    password_resets = "password_resets"\n'
        '    columns = {"password": "password_resets", "token": "user_token"}\n'
        '    (folder / "total").write_text(str(total))\n'
    ),
    "names of columns in constants": good(
        imports='import csv\nPASSWORD = "password_resets"\nSECRET_COLUMN = "secret_santa_2024"\n'
        'TOKEN_COUNT = "tokens1"\n'
        'KEY = "customer_id_2024"\nTOKEN = "usd"\nAPI_KEY = ""\n'
    ),
    "types by column": good(
        imports='import csv\nDTYPES = {"password": "string", "token": "float64", "api_key": "category"}\n'
    ),
    "special tokens of a tokenizer": good(
        imports='import csv\nPAD_TOKEN = "<pad-0001>"\nUNKNOWN_TOKEN = "[UNK]"\nEND_TOKEN = "</s>"\n'
    ),
    "a secret from the environment": good(
        imports='import csv\nimport os\nAPI_KEY = os.environ.get("SERVICE_API_KEY", "")\n'
        'os.environ.setdefault("OMP_NUM_THREADS", "1")\nos.environ["TZ"] = "UTC"\n'
    ),
    "a group of arguments": good(
        sales_option='    group = parser.add_argument_group("inputs")\n'
        '    group.add_argument("--sales", required=True)\n'
    ),
    "the parser in a function": good(
        define='def build_parser():\n    """Options, with default=/nowhere as an example."""\n'
        "    parser = argparse.ArgumentParser()\n"
        + PIECES["sales_option"]
        + PIECES["threshold_option"]
        + PIECES["outputs_option"]
        + "    return parser\n\n\ndef main():\n",
    ),
    "a function that is called input": good(
        define="def input(row):\n    return row\n\n\ndef main():\n", parse=PIECES["parse"] + '    input("x")\n'
    ),
    "messages to standard error": good(
        imports="import csv\nimport sys\n",
        mkdir=PIECES["mkdir"] + '    sys.stderr.write("done, input() was fine\\n")\n',
    ),
    "an async solution": good(
        imports="import asyncio\nimport csv\n",
        define="async def work():\n    return None\n\n\ndef main():\n    asyncio.run(work())\n",
    ),
    "an address without a password": good(imports='import csv\nDOCS = "https://example.org/a@b?x=1:2"\n'),
    "hashing with hashlib": good(
        imports='import csv\nimport hashlib\nDIGEST = hashlib.sha256(b"abc123def456").hexdigest()\n'
    ),
    "a sort key": good(imports='import csv\nsort_key = "created_at2"\nprimary_key = "id_0001_abc"\n'),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_nothing_is_said_about_an_ordinary_script(name: str) -> None:
    assert static_findings(ORDINARY[name], SALES) == []


def test_a_boolean_and_a_script_without_outputs_are_ordinary_too() -> None:
    code = """
    import argparse

    def boolean(text):
        return {"true": True, "false": False}[text]

    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--dry_run", type=boolean, required=True)
        print(parser.parse_args().dry_run)

    if __name__ == "__main__":
        main()
    """
    assert static_findings(textwrap.dedent(code), Contract(inputs={"dry_run": "bool"}, outputs={})) == []


def test_a_script_without_inputs_and_outputs_needs_no_arguments() -> None:
    code = 'def main():\n    print("hello")\n\n\nif __name__ == "__main__":\n    main()\n'
    assert static_findings(code, Contract(inputs={}, outputs={})) == []


WRONG = {
    "the code is empty": ("", "empty"),
    "the code does not parse": (GOOD + "\ndef (:\n", "line 23"),
    "a null byte": (GOOD + "\0", "does not parse"),
    "there is no main": (GOOD.replace("main", "run"), "`main()`"),
    "main is not called under a guard": (good(guard="main()\n"), "guard"),
    "main is called at import": (GOOD + "\nmain()\n", "when the module is loaded"),
    "an option is missing": (good(threshold_option=""), "`--threshold` is missing"),
    "an option is spelled otherwise": (GOOD.replace("--threshold", "--min-amount"), "`--min-amount`"),
    "an option too many": (good(parse='    parser.add_argument("--verbose")\n' + PIECES["parse"]), "`--verbose`"),
    "a positional argument": (good(sales_option='    parser.add_argument("sales")\n'), "positional"),
    "subcommands": (good(parse="    parser.add_subparsers()\n" + PIECES["parse"]), "subcommands"),
    "no argparse at all": (
        'import sys\n\ndef main():\n    open("/var/outputs/total", "w").write(sys.argv[1])\n\n' + PIECES["guard"],
        "argparse",
    ),
    "arguments by position": (
        good(imports="import csv\nimport sys\n", folder="    folder = Path(sys.argv[2])\n"),
        "`sys.argv` by position",
    ),
    "no option for the outputs": (good(outputs_option="", folder='    folder = Path("/var/outputs")\n'), "`--outputs`"),
    "another default for the outputs": (
        good(outputs_option='    parser.add_argument("--outputs", default="out")\n'),
        "`/var/outputs`",
    ),
    "the outputs folder is not used": (good(folder='    folder = Path("/tmp")\n'), "never used"),
    "an output that is written nowhere": (good(write="    print(total)\n"), "`total` is written nowhere"),
    "an output with an extension": (good(write='    (folder / "total.txt").write_text(str(total))\n'), "`total.txt`"),
    "an output that only a docstring names": (
        good(write="    print(total)\n", define='def main():\n    "total"\n'),
        "`total` is written nowhere",
    ),
    "a question to a person": (good(parse=PIECES["parse"] + '    input("sure?")\n'), "`input()`"),
    "standard input": (good(imports="import csv\nimport sys\n", mkdir="    sys.stdin.read()\n"), "standard input"),
    "an input from the environment": (
        good(imports="import csv\nimport os\n", mkdir='    os.environ["SALES_PATH"]\n'),
        "`SALES_PATH`",
    ),
    "a password": (good(imports='import csv\npassword = "hunter2!"\n'), "`password`"),
    "a password of letters": (good(imports='import csv\nDB_PASSWORD = "correcthorse"\n'), "`DB_PASSWORD`"),
    "a key as a keyword argument": (
        good(mkdir='    connect(api_key="sk-proj-8d7f6a5b4c")\n'),
        "`api_key`",
    ),
    "a key in a dict": (good(imports='import csv\nCONFIG = {"api-key": "a8f5f167f44f4964e6c998"}\n'), "`api-key`"),
    "a token as a default": (good(define='def main(auth_token="ghp_16C7e42F292c6912E7"):\n'), "`auth_token`"),
    "a key as a fallback of the environment": (
        good(imports='import csv\nimport os\nKEY = os.getenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI7bPx")\n'),
        "`AWS_SECRET_ACCESS_KEY`",
    ),
    "an attribute": (good(mkdir='    parser.clientSecret = "Zm9vYmFyMTIz"\n'), "`clientSecret`"),
    "a password in an address": (
        good(imports='import csv\nDATABASE = "postgresql://app:s3cret@db.internal/prod"\n'),
        "address with a password",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_a_sentence_that_names_it(name: str) -> None:
    code, named = WRONG[name]
    findings = static_findings(code, SALES)
    assert any(named in finding for finding in findings), findings
    assert all(finding.endswith(".") for finding in findings)


@pytest.mark.parametrize(
    "option",
    [
        'parser.add_argument("--dry_run", action="store_true")',
        'parser.add_argument("--dry_run", action=argparse.BooleanOptionalAction)',
        'parser.add_argument("--dry_run", type=bool)',
    ],
)
def test_a_boolean_that_cannot_be_given_as_text_is_a_finding(option: str) -> None:
    code = (
        f"import argparse\n\n\ndef main():\n    parser = argparse.ArgumentParser()\n    {option}\n\n\n{PIECES['guard']}"
    )
    (finding,) = static_findings(code, Contract(inputs={"dry_run": "bool"}, outputs={}))
    assert "`--dry_run`" in finding


def test_the_value_of_a_credential_is_not_repeated() -> None:
    findings = static_findings(good(imports='import csv\npassword = "hunter2!"\n'), SALES)
    assert "hunter2" not in " ".join(findings)


def test_each_problem_is_told_once() -> None:
    code = good(parse=PIECES["parse"] + '    input("a")\n    input("b")\n')
    assert len(static_findings(code, SALES)) == 1


def test_code_that_nests_too_deeply_is_a_finding_and_no_crash() -> None:
    deep = GOOD + "x = " + "(" * 5000 + "1" + ")" * 5000 + "\n"
    (finding,) = static_findings(deep, SALES)
    assert "does not parse" in finding


# Documents and several files

TYPED = Contract(
    inputs={"parts": "list[File]", "options": "dict"}, outputs={"pages": "Dir", "table": "DataFrame"}, samples=()
)
TYPED_CODE = """
import argparse
import json
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", required=True, action="append")
    parser.add_argument("--options", required=True, type=json.loads)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    (Path(args.outputs) / "pages").mkdir(parents=True)
    (Path(args.outputs) / "pages" / "1.txt").write_text("")
    (Path(args.outputs) / "table").write_text("")


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ('action="append"', 'action="extend", nargs="+"'),
        (', action="append"', ", **{'action': 'append'}"),
        ('action="append"', "action=argparse._AppendAction"),
        (", type=json.loads", ""),
    ],
)
def test_the_usual_ways_to_take_documents_and_several_files_are_right(old: str, new: str) -> None:
    assert static_findings(TYPED_CODE.replace(old, new), TYPED) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (', action="append"', "", "`--parts` is given once for each file"),
        ('action="append"', 'action="store"', "`--parts` is given once for each file"),
        ("type=json.loads", "type=dict", "`--options` has `type=dict`, which does not read JSON"),
        ("type=json.loads", "type=eval", "`--options` has `type=eval`"),
        ('"pages"', '"papers"', "Write its files into the folder `<outputs>/pages/`"),
        ('"table"', '"table.parquet"', "The file of the output is called `table`, with no extension"),
    ],
)
def test_other_ways_are_found(old: str, new: str, said: str) -> None:
    (finding,) = static_findings(TYPED_CODE.replace(old, new), TYPED)
    assert said in finding
