# Inside a jail without network: copy packages from the machine's own libraries, with all they need.
#
# usage: Rscript --vanilla r_library.R WANTED LIBRARY...
# WANTED has a line for each package: NAME, or NAME OPERATOR VERSION. Writes library/NAME, and `taken`: name,
# version, needs, with tabs between them. What it says is checked outside.

options(warn = 1)
arguments <- commandArgs(TRUE)
wanted <- strsplit(readLines(arguments[1L]), " ", fixed = TRUE)
libraries <- arguments[-1L][dir.exists(arguments[-1L])]

give_up <- function(...) {
  writeLines(paste0(...), stderr())
  quit(save = "no", status = 3L)
}

base <- c("R", rownames(installed.packages(.Library, priority = "base")))

place_of <- function(name, by) {
  places <- file.path(libraries, name)
  places <- places[file.exists(file.path(places, "DESCRIPTION"))]
  if (!length(places)) give_up("the package ", sQuote(name, FALSE), by, " is not installed on this machine")
  places[1L]
}

described <- function(place) {
  fields <- c("Version", "Depends", "Imports", "LinkingTo")
  tryCatch(read.dcf(file.path(place, "DESCRIPTION"), fields)[1L, ], error = function(condition) {
    give_up("the package at ", place, " is damaged: ", conditionMessage(condition))
  })
}

names_of <- function(text) {
  if (is.na(text)) return(character())
  pieces <- trimws(strsplit(text, ",", fixed = TRUE)[[1L]])
  sub("[[:space:](].*", "", pieces[nzchar(pieces)])
}

dir.create("library")
done <- character()
lines <- character()
waiting <- lapply(wanted, function(one) list(name = one[1L], by = ""))
while (length(waiting)) {
  name <- waiting[[1L]]$name
  by <- waiting[[1L]]$by
  waiting <- waiting[-1L]
  if (name %in% done) next
  done <- c(done, name)
  place <- place_of(name, by)
  about <- described(place)
  # What is only compiled against is not looked for: it was needed when the package was compiled.
  needs <- setdiff(unlist(lapply(about[c("Depends", "Imports")], names_of)), base)
  # Links are followed: what they lead to is what is installed.
  if (!file.copy(place, "library", recursive = TRUE, copy.date = FALSE)) give_up("the package at ", place, " cannot be read")
  lines <- c(lines, paste(name, about[["Version"]], paste(sort(unique(needs)), collapse = ","), sep = "\t"))
  waiting <- c(waiting, lapply(needs, function(need) list(name = need, by = paste0(", which ", sQuote(name, FALSE), " needs,"))))
}

for (one in wanted) {
  if (length(one) > 1L) {
    found <- packageVersion(one[1L], lib.loc = "library")
    if (!isTRUE(get(one[2L], baseenv())(found, numeric_version(one[3L], strict = FALSE)))) {
      give_up(sQuote(one[1L], FALSE), " ", one[2L], " ", one[3L], " is asked for, and this machine has ", as.character(found))
    }
  }
  # One that was installed for another R does not load, and says so.
  tryCatch(loadNamespace(one[1L], lib.loc = "library"), error = function(condition) {
    give_up("the package ", sQuote(one[1L], FALSE), " of this machine cannot be loaded: ", conditionMessage(condition))
  })
}
writeLines(lines, "taken")
