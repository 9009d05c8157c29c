# Inside a jail, the repository's host reachable: fetch the listed source packages.
#
# usage: Rscript --vanilla r_fetch.R FILES
# FILES has a line for each: package, name of its file, URL, with tabs between them. Writes files/NAME below
# the working folder. What is no longer the newest lies in `Archive`, as everywhere where R packages are.
# Hashes are checked outside.

options(warn = 1, timeout = 900)
dir.create("files")

fetch <- function(url, path) {
  said <- NULL
  note <- function(condition) said <<- c(said, conditionMessage(condition))
  ended <- withCallingHandlers(
    tryCatch(download.file(url, path, "libcurl", quiet = TRUE, mode = "wb"), error = note),
    warning = function(condition) {
      note(condition)
      invokeRestart("muffleWarning")
    }
  )
  if (identical(ended, 0L)) NULL else said
}

for (line in strsplit(readLines(commandArgs(TRUE)[1L]), "\t", fixed = TRUE)) {
  package <- line[1L]
  path <- file.path("files", line[2L])
  url <- line[3L]
  said <- fetch(url, path)
  if (!is.null(said)) {
    archived <- file.path(dirname(url), "Archive", package, basename(url))
    if (!is.null(fetch(archived, path))) {
      writeLines(c(paste0(line[2L], " cannot be fetched:"), unique(said)), stderr())
      quit(save = "no", status = 3L)
    }
  }
}
