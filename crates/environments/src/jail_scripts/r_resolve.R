# Inside a jail, the repository's host reachable: what is asked for and all it needs, by R's own index tools.
#
# usage: Rscript --vanilla r_resolve.R SOURCES_URL WANTED
# WANTED has a line for each package: NAME, or NAME OPERATOR VERSION. Writes `needed` into the working
# folder: name, version, folder, MD5 sum, needs, with tabs between them. What it says is checked outside.

options(warn = 1, timeout = 120)
PACKED_BYTES_MAX <- 32 * 2^20
INDEX_BYTES_MAX <- 128 * 2^20
PIECE_BYTES <- 2^20
KINDS <- c("Depends", "Imports", "LinkingTo")

arguments <- commandArgs(TRUE)
sources <- arguments[1L]
wanted <- strsplit(readLines(arguments[2L]), " ", fixed = TRUE)

give_up <- function(...) {
  writeLines(paste0(...), stderr())
  quit(save = "no", status = 3L)
}

# --- the index, never as `PACKAGES.rds`: that is read by a machine that makes any value of R of it ---

download <- function(name) {
  path <- file.path(tempdir(), name)
  said <- NULL
  note <- function(condition) said <<- c(said, conditionMessage(condition))
  ended <- withCallingHandlers(
    tryCatch(download.file(file.path(sources, name), path, "libcurl", quiet = TRUE, mode = "wb"), error = note),
    warning = function(condition) {
      note(condition)
      invokeRestart("muffleWarning")
    }
  )
  if (identical(ended, 0L)) list(path = path) else list(said = said)
}

unpack <- function(path) {
  if (file.size(path) > PACKED_BYTES_MAX) give_up("the index of the repository is larger than 32 MiB")
  folder <- file.path(tempdir(), "index")
  dir.create(folder)
  from <- gzfile(path, "rb")
  to <- file(file.path(folder, "PACKAGES"), "wb")
  total <- 0
  repeat {
    piece <- readBin(from, "raw", PIECE_BYTES)
    if (!length(piece)) break
    total <- total + length(piece)
    if (total > INDEX_BYTES_MAX) give_up("the index of the repository is larger than 128 MiB, unpacked")
    if (any(piece == as.raw(0L))) give_up("the index of the repository is no text")
    writeBin(piece, to)
  }
  close(from)
  close(to)
  folder
}

got <- download("PACKAGES.gz")
if (is.null(got$path)) {
  plain <- download("PACKAGES")
  if (is.null(plain$path)) {
    give_up("the index of the repository (src/contrib/PACKAGES) cannot be fetched:\n", paste(unique(c(got$said, plain$said)), collapse = "\n"))
  }
  got <- plain
}
folder <- unpack(got$path)

read_index <- function(filters) {
  tryCatch(
    suppressWarnings(available.packages(
      contriburl = paste0("file://", folder), filters = filters, fields = "MD5sum", ignore_repo_cache = TRUE
    )),
    error = function(condition) give_up("the index of the repository cannot be read: ", conditionMessage(condition))
  )
}
everything <- read_index(list())
index <- read_index(c("R_version", "OS_type", "subarch", "duplicates"))
if (!nrow(everything)) give_up("the index of the repository names no package")

# --- what is needed ---

base <- c("R", rownames(installed.packages(.Library, priority = "base")))
version_of <- function(name) if (name == "R" || name %in% base) getRversion() else package_version(index[name, "Version"])

# Name, operator and version of each entry of a field such as Depends.
entries_of <- function(text) {
  if (is.na(text)) return(list())
  pieces <- trimws(strsplit(gsub("[[:space:]]+", " ", text), ",", fixed = TRUE)[[1L]])
  lapply(pieces[nzchar(pieces)], function(piece) {
    parts <- regmatches(piece, regexec("^([[:alnum:].]+) ?(\\( ?(>=|<=|==|=|!=|>|<) ?([0-9.-]+) ?\\))?$", piece))[[1L]]
    if (!length(parts)) give_up("the index has a requirement that cannot be understood: ", piece)
    list(name = parts[2L], operator = parts[4L], version = parts[5L])
  })
}

meets <- function(entry) {
  if (!nzchar(entry$operator)) return(TRUE)
  compare <- get(if (entry$operator == "=") "==" else entry$operator, baseenv())
  isTRUE(compare(version_of(entry$name), numeric_version(entry$version, strict = FALSE)))
}

check <- function(entry, by) {
  name <- entry$name
  if (!name %in% base && !name %in% rownames(index)) {
    if (!name %in% rownames(everything)) {
      give_up("the repository has no source package ", sQuote(name, FALSE), by)
    }
    row <- everything[match(name, rownames(everything)), ]
    give_up(
      "the package ", sQuote(name, FALSE), " ", row[["Version"]], by, " is not for this R ", as.character(getRversion()),
      " on this system: it depends on ", if (is.na(row[["Depends"]])) "another system" else row[["Depends"]]
    )
  }
  if (!meets(entry)) {
    give_up(
      sQuote(name, FALSE), " ", entry$operator, " ", entry$version, " is needed", by, ", and ",
      if (name %in% base) "this machine has " else "the repository has ", as.character(version_of(name))
    )
  }
}

for (one in wanted) {
  check(list(name = one[1L], operator = if (length(one) > 1L) one[2L] else "", version = one[3L]), "")
}

done <- character()
waiting <- vapply(wanted, `[`, "", 1L)
needs <- list()
while (length(waiting)) {
  name <- waiting[1L]
  waiting <- waiting[-1L]
  if (name %in% done) next
  done <- c(done, name)
  if (length(done) > 2000L) give_up("more than 2,000 packages are needed")
  entries <- do.call(c, lapply(KINDS, function(kind) entries_of(index[name, kind])))
  for (entry in entries) check(entry, paste0(" by ", sQuote(name, FALSE)))
  direct <- setdiff(vapply(entries, `[[`, "", "name"), base)
  needs[[name]] <- direct
  waiting <- c(waiting, direct)
}

# --- the answer ---

cell <- function(name, field) {
  value <- index[name, field]
  if (is.na(value)) "" else value
}
folder_of <- function(name) sub("^/", "", substring(index[name, "Repository"], nchar(paste0("file://", folder)) + 1L))
line <- function(name) {
  paste(name, cell(name, "Version"), folder_of(name), cell(name, "MD5sum"), paste(sort(unique(needs[[name]])), collapse = ","), sep = "\t")
}
writeLines(vapply(done, line, ""), "needed")
