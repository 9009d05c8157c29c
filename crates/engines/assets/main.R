# Entry for R inside the sandbox. Trusts nothing, is trusted by nobody.
#
# Two ways in: as R_PROFILE_USER it only sets up, and R runs the script itself
# (`Rscript --no-environ --no-site-file --no-save --no-restore NAME args`), which
# is exactly plain Rscript; as `Rscript --vanilla main.R NAME args` it evaluates
# the script as well, and the frames of `eval` show in `sys.calls()`.

local({
  stockade <- new.env(parent = baseenv())
  stockade$process <- Sys.getpid()
  stockade$folder <- getwd()
  stockade$results <- Sys.getenv("STOCKADE_RESULT_FD")
  stockade$absent <- NULL
  stockade$pages <- NULL # private folders with the pages of our devices
  Sys.unsetenv("STOCKADE_RESULT_FD")

  # --- reports to the launcher: JSON lines; never an error of the script's ---

  stockade$quoted <- function(text, room) {
    codes <- utf8ToInt(substr(enc2utf8(text), 1L, room))
    codes[is.na(codes) | codes > 65535L] <- 63L
    plain <- codes >= 32L & codes <= 126L & codes != 34L & codes != 92L
    pieces <- ifelse(plain, intToUtf8(codes, multiple = TRUE), sprintf("\\u%04x", codes))
    pieces <- pieces[cumsum(nchar(pieces)) <= room]
    paste0('"', paste(pieces, collapse = ""), '"')
  }

  stockade$report <- function(...) {
    fields <- Filter(function(value) is.character(value) && length(value) == 1L, list(...))
    try(silent = TRUE, {
      values <- vapply(fields, quoted, "", room = 900L)
      tell(paste0("{", paste0('"', names(fields), '":', values, collapse = ","), "}\n"))
    })
    invisible()
  }

  stockade$tell <- function(line) {
    link <- Sys.readlink(paste0("/proc/self/fd/", results))
    # Another kind of file under this number is not the launcher's pipe.
    if (nzchar(results) && startsWith(link, "pipe:")) {
      # The walls let nobody open a descriptor anew by its path; a child has it already.
      pipe <- pipe(paste0("exec cat >&", as.integer(results)), "wb")
      on.exit(close(pipe))
      writeBin(charToRaw(line), pipe)
    }
  }

  # R says which file is missing in a warning, then fails with another message.
  stockade$on_warning <- function(condition) {
    message <- conditionMessage(condition)
    if (grepl("cannot open file '.*': No such file", message)) {
      stockade$absent <- sub(".*cannot open file '(.*)': No such file.*", "\\1", message)
    }
  }

  stockade$on_error <- function(condition) {
    missing <- inherits(condition, "packageNotFoundError")
    opening <- grepl("cannot open", conditionMessage(condition), fixed = TRUE)
    report(
      kind = "exception", type = class(condition)[1L], message = conditionMessage(condition),
      name = if (missing) condition$package, path = if (opening) absent
    )
  }

  # --- figures: the default device draws pages in a private folder, which move ---
  # --- to figure-N.png when they are complete; nothing is ever overwritten      ---

  stockade$device <- function(width = 7, height = 7, pointsize = 12, ...) {
    pages <- tempfile("figures-")
    dir.create(pages)
    stockade$pages <- c(stockade$pages, pages)
    pattern <- file.path(pages, "%05d.png")
    if (!capabilities("png")) {
      pattern <- sub("png$", "pdf", pattern)
      return(grDevices::pdf(pattern, width, height, onefile = FALSE, pointsize = pointsize))
    }
    type <- if (capabilities("cairo")) "cairo" else getOption("bitmapType")
    grDevices::png(pattern, width, height, units = "in", res = 144, pointsize = pointsize, type = type)
  }

  stockade$collect <- function(...) {
    if (Sys.getpid() != process) {
      return(invisible()) # a fork, whose parent collects
    }
    drawing <- unlist(lapply(grDevices::dev.list(), path_of))
    for (folder in pages) {
      for (page in sort(list.files(folder, full.names = TRUE))) {
        if (file.size(page) > 0 && !folder %in% drawing) stockade$keep(page)
      }
    }
    invisible()
  }

  # The private folder of an open device.
  stockade$path_of <- function(number) {
    devices <- get0(".Devices", baseenv())
    path <- if (number <= length(devices)) attr(devices[[number]], "filepath")
    if (is.character(path)) dirname(path)
  }

  stockade$keep <- function(page) {
    number <- 1L
    repeat {
      name <- paste0("figure-", number, sub(".*(\\.[a-z]+)$", "\\1", page))
      target <- file.path(folder, name)
      if (!file.exists(target)) break
      number <- number + 1L
    }
    if (file.copy(page, target, overwrite = FALSE)) {
      unlink(page)
      report(kind = "figure", name = name)
    }
  }

  stockade$finish <- function(...) {
    if (Sys.getpid() == stockade$process && length(stockade$pages)) {
      grDevices::graphics.off()
      stockade$collect()
    }
  }

  # A figure is kept as soon as its device is closed, not only at the end.
  stockade$hook_dev_off <- function(...) {
    close_device <- grDevices::dev.off
    dev.off <- function(which = grDevices::dev.cur()) {
      now <- close_device(which)
      stockade$collect()
      now
    }
    stockade$replace("dev.off", dev.off, asNamespace("grDevices"))
    attached <- match("package:grDevices", search())
    if (!is.na(attached)) stockade$replace("dev.off", dev.off, as.environment(attached))
  }

  stockade$replace <- function(name, value, space) {
    unlockBinding(name, space)
    assign(name, value, space)
    lockBinding(name, space)
  }

  # Sys.timezone asks systemd, which cannot answer here and complains on standard error.
  stockade$hook_timezone <- function() {
    zone <- sub(".*/zoneinfo/", "", Sys.readlink("/etc/localtime"))
    if (!file.exists(file.path("/usr/share/zoneinfo", zone)) || !nzchar(zone)) return()
    ask <- Sys.timezone
    stockade$replace("Sys.timezone", function(location = TRUE) {
      if (nzchar(Sys.getenv("TZ"))) ask(location) else zone
    }, baseenv())
  }

  # --- the script, when R does not run it itself ---

  stockade$run <- function(arguments) {
    given <- commandArgs()
    name <- arguments[1L]
    at <- match("--args", given)
    given <- sub("^--file=.*", paste0("--file=", name), given[seq_len(at)])
    given <- if (length(arguments) > 1L) c(given, arguments[-1L]) else given[-at]
    stockade$replace("commandArgs", function(trailingOnly = FALSE) {
      if (!trailingOnly) return(given)
      at <- match("--args", given)
      if (is.na(at)) character() else given[-seq_len(at)]
    }, baseenv())
    if (!file.exists(name)) {
      stop("cannot open file '", name, "': No such file or directory", call. = FALSE)
    }
    for (expression in parse(name, keep.source = FALSE)) {
      shown <- withVisible(eval(expression, globalenv()))
      if (shown$visible) print(shown$value)
    }
  }

  for (name in ls(stockade)) {
    value <- get(name, stockade)
    if (is.function(value)) {
      environment(value) <- stockade
      assign(name, value, stockade)
    }
  }
  stockade$stockade <- stockade

  options(device = stockade$device)
  stockade$hook_timezone()
  reg.finalizer(stockade, stockade$finish, onexit = TRUE)
  if ("grDevices" %in% loadedNamespaces()) {
    stockade$hook_dev_off()
  } else {
    setHook(packageEvent("grDevices", "onLoad"), stockade$hook_dev_off)
  }
  if (getRversion() >= "4.0.0") {
    globalCallingHandlers(warning = stockade$on_warning, error = stockade$on_error)
  }

  own <- Sys.getenv("R_PROFILE_USER")
  Sys.unsetenv("R_PROFILE_USER") # a child R is the script's own affair
  if (!nzchar(own)) stockade$run(commandArgs(trailingOnly = TRUE))
})
