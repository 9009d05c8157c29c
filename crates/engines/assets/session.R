# A session of R: one process that executes one piece of code after the other.
#
# Inside the sandbox, run by R itself; `main.R` was its profile and left its functions where the device is. What R
# cannot do is in `libstockade_r.so` (`native/sys.rs`): it takes orders, moves files, and connects output and error to
# where an order says; the frames are those of `stockade_session.py`. Nothing that is said here is believed outside.

evalq({
  # As a shell tells that an interrupt ended something.
  INTERRUPTED <- 130L
  # As the call of code that is typed in looks from inside; it has none.
  own <- quote(eval(expression, globalenv()))

  serve <- function() {
    loaded <- dyn.load("/opt/stockade/engine/libstockade_r.so")
    for (name in c("begin", "next", "code", "answer", "say")) {
      native[[name]] <<- getNativeSymbolInfo(paste0("stockade_", name), loaded)$address
    }
    # An interrupt waits for code that may be interrupted, which nothing here is.
    suspendInterrupts({
      number <- as.integer(results)
      if (.C(native$begin, number, done = 0L)$done != 1L) quit("no", 125L)
      pieces <- 0L
      repeat {
        order <- .C(native[["next"]], size = 0L, stale = 0L)
        if (order$size < 0L) break
        # One was sent for an order before this, whose answer it may have come after.
        if (order$stale != 0L) forget_interrupts()
        pieces <- pieces + 1L
        taken <- .C(native$code, bytes = raw(order$size), length = order$size)
        status <- withRestarts(
          execute(taken$bytes[seq_len(taken$length)], paste0("<execution ", pieces, ">")),
          # What leads back to where code is typed in.
          abort = function() 1L
        )
        finish_figures()
        .C(native$answer, status)
      }
    })
  }

  # As where it is typed in: what is visible is printed, errors are shown; says with which status it ends.
  execute <- function(bytes, name) {
    tryCatch(
      {
        withCallingHandlers(
          {
            expressions <- understood(bytes, name)
            if (below == 0L) below <<- length(allowInterrupts(value(quote(sys.calls())))$value)
            for (expression in expressions) {
              allowInterrupts({
                shown <- value(expression)
                if (shown$visible) print(shown$value)
              })
              if (warned) show_warnings()
            }
          },
          error = function(condition) place <<- calls_of(sys.calls()),
          warning = note_warning
        )
        0L
      },
      error = function(condition) {
        # A condition of the code's may do anything when it is asked what it says.
        tryCatch(allowInterrupts(complain(condition)), error = function(again) complain(again))
        1L
      },
      interrupt = function(condition) {
        cat("\n", file = stderr())
        INTERRUPTED
      }
    )
  }

  value <- function(expression) withVisible(eval(expression, globalenv()))

  understood <- function(bytes, name) {
    place <<- character()
    if (any(bytes == 0L)) stop("the code has a zero byte", call. = FALSE)
    text <- rawToChar(bytes)
    Encoding(text) <- "UTF-8"
    lines <- strsplit(text, "\r?\n")[[1L]]
    tryCatch(
      parse(text = lines, keep.source = FALSE, srcfile = srcfilecopy(name, lines), encoding = "UTF-8"),
      error = function(condition) stop(conditionMessage(condition), call. = FALSE)
    )
  }

  # Code that is called by nobody warns as R has it: without a call.
  note_warning <- function(condition) {
    warned <<- TRUE
    if (identical(conditionCall(condition), own)) {
      on_warning(condition)
      .Internal(.dfltWarn(conditionMessage(condition), NULL))
      invokeRestart("muffleWarning")
    }
  }

  # Those that R has kept until the end of an expression. It says `In addition`, as after an error.
  show_warnings <- function() {
    warned <<- FALSE
    said <- textConnection(NULL, "w", local = TRUE)
    before <- sink.number("message")
    sink(said, type = "message")
    .Internal(printDeferredWarnings())
    if (before == 2L) sink(type = "message") else sink(getConnection(before), type = "message")
    lines <- sub("^In addition: ", "", textConnectionValue(said))
    close(said)
    writeLines(lines, stderr())
  }

  # As R shows an error where code is not typed in.
  complain <- function(condition) {
    report_error(condition)
    message <- conditionMessage(condition)
    call <- conditionCall(condition)
    head <- "Error: "
    if (!is.null(call) && !identical(call, own)) {
      shown <- deparse(call, nlines = 1L)[1L]
      first <- strsplit(message, "\n", fixed = TRUE)[[1L]][1L]
      width <- 14L + nchar(shown, type = "w") + nchar(first, type = "w")
      head <- paste0("Error in ", shown, if (is.na(width) || width > 77L) " : \n  " else " : ")
    }
    cat(head, message, "\n", sep = "", file = stderr())
    if (length(place) > 1L) {
      names <- if (length(place) > 6L) c(place[1:3], "...", place[length(place) - 1:0]) else place
      cat("Calls: ", paste(names, collapse = " -> "), "\n", sep = "", file = stderr())
    }
    warned <<- FALSE
    .Internal(printDeferredWarnings())
  }

  # Which functions of the code an error came through.
  calls_of <- function(calls) {
    calls <- calls[-seq_len(below)]
    names <- vapply(calls, "", FUN = function(call) {
      called <- call[[1L]]
      # The last may be our own handler.
      if (is.name(called)) as.character(called) else if (is.function(called)) "stop" else "<Anonymous>"
    })
    ends <- c("stop", "warning", ".signalSimpleWarning", ".handleSimpleError")
    names[seq_len(match(TRUE, names %in% ends, nomatch = length(names) + 1L) - 1L)]
  }

  forget_interrupts <- function() {
    tryCatch(allowInterrupts(Sys.sleep(0)), interrupt = function(condition) NULL)
  }

  # What was drawn is a file when the answer comes; the next piece of code draws anew.
  finish_figures <- function() {
    if (length(pages)) {
      try(silent = TRUE, {
        for (number in grDevices::dev.list()) {
          if (isTRUE(path_of(number) %in% pages)) grDevices::dev.off(number)
        }
        collect()
        unlink(pages, recursive = TRUE)
      })
      pages <<- NULL
    }
  }

  # Instead of a pipe.
  tell <- function(line) {
    bytes <- charToRaw(line)
    .C(native$say, bytes, length(bytes))
  }

  report_error <- on_error
  native <- list()
  place <- character()
  warned <- FALSE
  below <- 0L
  serve()
}, environment(getOption("device")))
