"""The peers' engines: open a database, run SQL, fetch a result whole into Arrow."""

import duckdb
import pyarrow as pa
from chdb import session


def statements(text):
    """The statements of an SQL file, without its comments."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]


class DuckDb:
    def __init__(self, path):
        self.path = path.with_suffix(".duckdb")
        self.connection = duckdb.connect(str(self.path))
        self.version = f"DuckDB {duckdb.__version__}"

    def run(self, text):
        for statement in statements(text):
            self.connection.execute(statement)

    def fetch(self, query):
        return self.connection.sql(query).to_arrow_table()

    def size(self):
        """Bytes of the database on disk."""
        return self.path.stat().st_size

    def files(self):
        return [self.path]


class ClickHouse:
    def __init__(self, path):
        self.path = path
        self.session = session.Session(str(path))
        self.run("CREATE DATABASE IF NOT EXISTS exposure; USE exposure;")
        version = self.session.query("SELECT version()", "TabSeparated").bytes().decode().strip()
        self.version = f"ClickHouse {version} (chdb)"

    def run(self, text):
        for statement in statements(text):
            self.session.query(statement)

    def fetch(self, query):
        # The view shares the engine's buffer; `ArrowTable` and `bytes()` copy it once more.
        view = self.session.query(query, "ArrowStream").get_memview().view()
        return pa.ipc.open_stream(pa.py_buffer(view)).read_all()

    def size(self):
        """Bytes of all live parts on disk, indexes included."""
        sum_of_parts = "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = 'exposure'"
        return self.fetch(sum_of_parts)["bytes"][0].as_py()

    def files(self):
        return [path for path in self.path.rglob("*") if path.is_file()]
