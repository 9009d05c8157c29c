//! R by the machine's own `Rscript`: base graphics, parallel, files, streams.

use stockade_testkit::Ran;

use crate::support::{
    Folder, User, has, honest, is_picture, make_results, output_names, own_errors, quiet, run, users,
};

const ANALYSIS: &str = r#"
cat("arguments:", commandArgs(trailingOnly = TRUE), "\n")
data <- read.csv("in.csv")
print(aggregate(v ~ k, data, sum))
fit <- summary(lm(dist ~ speed, cars)); stopifnot(abs(fit$r.squared - 0.6511) < 1e-4); invisible(capture.output(print(fit)))
plot(cars); abline(lm(dist ~ speed, cars))
hist(cars$speed)
png("own.png"); plot(1:3); invisible(dev.off())
stopifnot(parallel::detectCores() >= 1, unlist(parallel::mclapply(1:4, function(n) n^2, mc.cores = 2)) == c(1, 4, 9, 16))
workers <- parallel::makeCluster(2); stopifnot(parallel::parSapply(workers, 1:3, function(x) x + 1) == 2:4); parallel::stopCluster(workers)
cat("lines:", length(readLines(file("stdin"))), "\n")
stopifnot(nzchar(Sys.timezone()), l10n_info()$`UTF-8`, nchar("é") == 1, format(as.POSIXct(0, origin = "1970-01-01", tz = "Europe/Zurich"), "%H") == "01")
stopifnot(system("echo hi", intern = TRUE) == "hi", !is.null(sessionInfo()$running), basename(getwd()) == "job")
write.csv(cars, "cars.csv"); saveRDS(cars, "/tmp/c.rds"); stopifnot(identical(readRDS("/tmp/c.rds"), cars))
"#;

fn r(user: User, script: &str) -> Option<(Ran, Folder)> {
    if !has("Rscript") {
        return None;
    }
    let folder = Folder::new();
    folder.write("in.csv", "k,v\na,1\nb,2\na,3\n");
    folder.write("x.R", script);
    make_results(&folder);
    let ran =
        run(user, &folder).args(["--in", "in.csv", "--out", "results", "x.R", "one", "two 2"]).input("a\nb\n").run();
    Some((ran, folder))
}

#[test]
fn an_analysis_in_r_runs_and_its_figures_become_files() {
    for user in users() {
        let Some((ran, folder)) = r(user, ANALYSIS) else { return };
        let ran = quiet(ran.expect(0));
        assert_eq!(ran.stdout, "arguments: one two 2 \n  k v\n1 a 4\n2 b 2\nlines: 2 \n");
        assert_eq!(output_names(&ran), ["cars.csv", "figure-1.png", "figure-2.png", "own.png"]);
        for name in ["figure-1.png", "figure-2.png", "own.png"] {
            assert!(is_picture(&folder.path().join("results").join(name)), "{name}");
        }
    }
}

#[test]
fn r_ends_with_the_status_it_says() {
    let Some((ran, _)) = r(User::Caller, "cat('x\\n'); quit(status = 7)") else { return };
    let ran = quiet(ran.expect(7));
    assert_eq!(ran.stdout, "x\n");
}

#[test]
fn an_error_in_r_reads_as_outside() {
    let Some((ran, _)) = r(User::Caller, "f <- function() stop('bad'); f()") else { return };
    let ran = honest(ran.expect(1));
    assert_eq!(own_errors(&ran), "Error in f() : bad\nExecution halted\n");
}
