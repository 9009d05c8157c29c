//! Queries over staged files.

use crate::support::{Folder, PACKAGES, User, honest, make_results, own_errors, quiet, run, users};

/// Makes `t.parquet` and `t.arrow`, which no text editor can.
fn tables(user: User, folder: &Folder) {
    folder.write("make.py", "import pyarrow as pa, pyarrow.feather as f, pyarrow.parquet as p\nt = pa.table({'a': list(range(100)), 'b': ['x%d' % (n % 3) for n in range(100)]})\np.write_table(t, 't.parquet'); f.write_feather(t, 'u.arrow')\n");
    make_results(folder);
    let _ = quiet(run(user, folder).args(["--with", PACKAGES, "--out", "results", "make.py"]).run().expect(0));
}

#[test]
fn a_query_reads_csv_parquet_and_arrow_and_leaves_its_result() {
    for user in users() {
        let folder = Folder::new();
        tables(user, &folder);
        folder.write("names.csv", "b,name\nx0,zero\nx1,one\n");
        folder.write("q.sql", "-- what there is\nSHOW TABLES;\nCREATE TABLE big AS SELECT * FROM t WHERE a >= 50;\nSELECT name, count(*) AS n, sum(u.a) AS total\nFROM big JOIN names USING (b) JOIN u USING (a)\nGROUP BY name ORDER BY name;\n");
        let inputs = ["--in", "results/t.parquet", "--in", "results/u.arrow", "--in", "names.csv"];
        let ran = quiet(
            run(user, &folder)
                .args(["--with", PACKAGES])
                .args(inputs)
                .args(["--out", "results", "q.sql"])
                .run()
                .expect(0),
        );
        assert_eq!(folder.read("results/result.csv"), "name,n,total\none,16,1192\nzero,17,1275\n");
        assert!(ran.stdout.contains("zero") && ran.stdout.contains("1275"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("stockade"), "{}", ran.stdout);
    }
}

#[test]
fn a_query_that_fails_says_where_and_what_there_is() {
    let folder = Folder::new();
    folder.write("names.csv", "b,name\nx0,zero\n");
    folder.write("q.sql", "SELECT 1;\nSELECT * FROM absent;\n");
    let ran =
        honest(run(User::Caller, &folder).args(["--with", PACKAGES, "--in", "names.csv", "q.sql"]).run().expect(1));
    let said = own_errors(&ran);
    assert!(
        said.starts_with("error: `q.sql` line 2: ") && said.ends_with("next: the files given are the tables names\n"),
        "{said}"
    );
}
