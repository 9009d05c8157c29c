# Inside a jail without network: compile one source package.
#
# usage: Rscript --vanilla r_install.R NAME FILE ENVIRONMENT
# Writes library/NAME below the working folder. Always at the same place and with the same time, so that the
# same source gives the same bytes: paths and times of a build end up in what it makes.

options(warn = 1)
arguments <- commandArgs(TRUE)
name <- arguments[1L]
library <- file.path(arguments[3L], "library")

give_up <- function(...) {
  writeLines(paste0(...), stderr())
  quit(save = "no", status = 3L)
}

build <- "/tmp/build"
dir.create(build)
dir.create("library")
if (untar(arguments[2L], exdir = build, tar = "internal") != 0L) give_up("the archive of the package cannot be unpacked")
source <- file.path(build, name)
described <- tryCatch(read.dcf(file.path(source, "DESCRIPTION"), "Package")[1L], error = conditionMessage)
if (!identical(as.character(described), name)) {
  give_up("its DESCRIPTION says that it is ", sQuote(substr(described, 1L, 100L), FALSE), ", not ", sQuote(name, FALSE))
}

# R would say this in the words of a shell.
code <- dir(file.path(source, "src"), recursive = TRUE)
needed <- c(
  if (length(code)) "make",
  if (any(grepl("\\.c$", code))) "gcc",
  if (any(grepl("\\.(cc|cpp)$", code))) "g++",
  if (any(grepl("\\.(f|f90|f95)$", code))) "gfortran"
)
missing <- needed[!nzchar(Sys.which(needed))]
if (length(missing)) {
  give_up(
    "the package has code to compile, and this machine has no ", paste(sQuote(missing, FALSE), collapse = ", "),
    ": install a compiler for R packages (Debian: r-base-dev)"
  )
}

# No profile or settings of the machine either: they would be part of what is built.
Sys.setenv(R_PROFILE = "/dev/null", R_PROFILE_USER = "/dev/null", R_ENVIRON = "/dev/null", R_ENVIRON_USER = "/dev/null")
Sys.setenv(R_LIBS = library, R_LIBS_USER = library, R_LIBS_SITE = library, TZ = "UTC", R_BUILD_TAR = "internal")
# All on one stream, in order: why a package does not load is said on the other one.
status <- system(paste(c(
  shQuote(file.path(R.home("bin"), "R")), "CMD INSTALL --no-multiarch --strip",
  shQuote("--built-timestamp=1980-01-01 00:00:00 UTC"),
  shQuote(paste0("--library=", file.path(getwd(), "library"))), shQuote(source), "1>&2"
), collapse = " "))
quit(save = "no", status = min(status, 125L))
