//! The packages that analytics is made of, from one environment.

use crate::support::{PACKAGES, User, works};

#[track_caller]
fn packaged(script: &str) {
    let _ = works(User::Caller, &["--with", PACKAGES], script);
}

/// Everything at once, for a user without rights whose interpreter is the machine's.
#[test]
fn an_ordinary_user_has_them_all() {
    let _ = works(
        User::Ordinary,
        &["--with", PACKAGES],
        r#"
import duckdb, joblib, matplotlib.pyplot, numpy, pandas, polars, pyarrow, statsmodels.api
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import cross_val_score
X, y = load_iris(return_X_y=True)
assert cross_val_score(RandomForestClassifier(20, random_state=0), X, y, n_jobs=2).mean() > 0.9
assert HistGradientBoostingClassifier(max_iter=20).fit(X, y).score(X, y) > 0.9
frame = pandas.DataFrame(X); frame.columns = list("abcd"); frame.to_parquet("x.parquet")
assert duckdb.connect().execute("select count(*) from 'x.parquet'").fetchall() == [(150,)]
assert polars.read_parquet("x.parquet").height == 150 and pyarrow.cpu_count() == joblib.cpu_count()
"#,
    );
}

#[test]
fn numpy_computes_and_maps_files() {
    packaged(
        r#"
import numpy as np
a = np.random.default_rng(0).normal(size=(300, 300)); u, s, v = np.linalg.svd(a); assert np.allclose(u @ np.diag(s) @ v, a)
m = np.memmap("m.dat", dtype="f8", mode="w+", shape=(1000, 1000)); m[:] = 1; m.flush()
assert np.memmap("m.dat", dtype="f8", mode="r").sum() == 1e6
np.savez("a.npz", a=a); assert (np.load("a.npz")["a"] == a).all()
"#,
    );
}

#[test]
fn pandas_reads_and_writes_its_formats() {
    packaged(
        r#"
import sqlite3, pandas as pd
frame = pd.DataFrame({"k": list("abcab") * 1000, "v": range(5000), "t": pd.date_range("2024-01-01", periods=5000, freq="h", tz="Europe/Zurich")})
frame.to_csv("d.csv", index=False); assert pd.read_csv("d.csv", parse_dates=["t"]).v.sum() == frame.v.sum()
frame.to_parquet("d.parquet"); assert pd.read_parquet("d.parquet").equals(frame)
frame.to_csv("d.csv.gz"); frame.to_json("d.json", date_format="iso"); frame.to_pickle("d.pickle")
connection = sqlite3.connect("d.db"); frame[["k", "v"]].to_sql("d", connection)
assert pd.read_sql("select count(*) as n from d", connection).n[0] == 5000
assert frame.groupby("k").v.mean()["c"] == 2499.5 and frame.set_index("t").v.resample("D").sum().size > 200
"#,
    );
}

#[test]
fn scikit_learn_fits_in_processes_and_threads() {
    packaged(
        r#"
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X, y = load_iris(return_X_y=True)
assert cross_val_score(RandomForestClassifier(30, random_state=0, n_jobs=2), X, y, n_jobs=2).mean() > 0.9
search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1, 10]}, n_jobs=-1).fit(X, y)
assert search.best_score_ > 0.9 and HistGradientBoostingClassifier(max_iter=20).fit(X, y).score(X, y) > 0.9
assert len(set(KMeans(10, n_init=2, random_state=0).fit(load_digits().data).labels_)) == 10
"#,
    );
}

#[test]
fn joblib_has_every_backend() {
    packaged(
        r#"
import os, time, numpy as np
from joblib import Memory, Parallel, cpu_count, delayed, dump, load
def slow(n): time.sleep(0.02); return n, os.getpid()
for backend in ("loky", "multiprocessing", "threading"):
    results = Parallel(n_jobs=2, backend=backend)(delayed(slow)(n) for n in range(20))
    assert [n for n, _ in results] == list(range(20))
    assert (os.getpid() in {pid for _, pid in results}) == (backend == "threading")
shared = np.ones(2_000_000)  # above max_nbytes: through /dev/shm
assert sum(Parallel(n_jobs=2, max_nbytes="1M")(delayed(np.sum)(part) for part in (shared, shared))) == 4e6
memory = Memory("/tmp/memory", verbose=0).cache(slow); assert memory(1) == memory(1)
dump({"a": shared}, "model.joblib"); assert load("model.joblib", mmap_mode="r")["a"].sum() == 2e6
assert cpu_count(only_physical_cores=True) >= 1
"#,
    );
}

#[test]
fn pyarrow_writes_and_reads_data_sets() {
    packaged(
        r#"
import pyarrow as pa, pyarrow.csv as csv, pyarrow.dataset as ds, pyarrow.feather as feather, pyarrow.parquet as pq
table = pa.table({"a": list(range(10000)), "b": ["x%d" % (n % 7) for n in range(10000)]})
for compression in ("snappy", "zstd", "gzip"):
    pq.write_table(table, "t.parquet", compression=compression); assert pq.read_table("t.parquet", memory_map=True).equals(table)
ds.write_dataset(table, "set", format="parquet", partitioning=["b"]); assert ds.dataset("set", partitioning=["b"]).count_rows() == 10000
feather.write_feather(table, "t.arrow"); assert feather.read_table("t.arrow").equals(table)
csv.write_csv(table, "t.csv"); assert csv.read_csv("t.csv").num_rows == 10000
with pa.OSFile("s.arrow", "wb") as file, pa.ipc.new_stream(file, table.schema) as stream: stream.write_table(table)
"#,
    );
}

#[test]
fn polars_streams() {
    packaged(
        r#"
import polars as pl
frame = pl.DataFrame({"a": range(100_000), "g": [n % 10 for n in range(100_000)]}); frame.write_parquet("p.parquet"); frame.write_csv("p.csv")
sums = pl.scan_parquet("p.parquet").group_by("g").agg(pl.col("a").sum()).collect(engine="streaming"); assert sums["a"].sum() == frame["a"].sum()
pl.scan_csv("p.csv").filter(pl.col("g") == 3).sink_parquet("q.parquet"); assert pl.read_parquet("q.parquet").height == 10_000
assert pl.read_csv("p.csv", try_parse_dates=True).equals(frame) and pl.thread_pool_size() >= 1
"#,
    );
}

#[test]
fn duckdb_spills_to_scratch() {
    packaged(
        r#"
import duckdb, os
connection = duckdb.connect("x.duckdb"); connection.execute("set memory_limit = '150MB'; set temp_directory = '/tmp/spill'; set threads = 2; set preserve_insertion_order = false")
connection.execute("create table t as select i, md5(i::varchar) h from range(2000000) t(i)")
rows = connection.execute("select i, h from t order by h, i limit 3 offset 1500000").fetchall(); assert len(rows) == 3
largest = connection.execute("select max(n) from (select h, i, row_number() over (order by h) n from t)").fetchall(); assert largest == [(2000000,)]
connection.execute("copy (select i, i % 7 g from range(100000) t(i)) to 'z.parquet'"); assert connection.execute("select count(*) from 'z.parquet'").fetchall() == [(100000,)]
assert os.path.exists("/tmp/spill")
"#,
    );
}

#[test]
fn statsmodels_regresses_real_data() {
    packaged(
        r#"
import statsmodels.api as sm, statsmodels.formula.api as smf
data = sm.datasets.longley.load_pandas()
fit = sm.OLS(data.endog, sm.add_constant(data.exog)).fit()
assert abs(fit.params["GNP"] + 0.035819) < 1e-5 and abs(fit.rsquared - 0.995479) < 1e-5  # as NIST certifies
assert "R-squared" in str(fit.summary())
spector = sm.datasets.spector.load_pandas().data
assert smf.logit("GRADE ~ GPA + TUCE + PSI", spector).fit(disp=0).params["GPA"] > 2
"#,
    );
}

#[test]
fn psutil_sees_the_run_alone() {
    packaged(
        r#"
import psutil
own = psutil.Process(); assert own.memory_info().rss > 0 and own.cpu_times().user >= 0 and own.num_threads() >= 1 and own.open_files() is not None
assert psutil.virtual_memory().total > 0 and psutil.cpu_count(logical=False) >= 1 and psutil.disk_usage("/job").total > 0
assert len(psutil.pids()) < 10
"#,
    );
}
