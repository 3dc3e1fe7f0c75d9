/*
 * The ledger's position with crash and trim: a producer commits rows, a relay sends and settles them, either may die at
 * any step; the trimmer removes rows below the position; a subscriber on the ledger itself keeps a position of its own and
 * is told when the ledger was trimmed past it.
 *
 * Safety: no row is trimmed that was not sent; the subscriber misses no row without being told.
 * Liveness: every row that was committed is sent.
 */
#define ROWS 3
#define CRASHES 3

byte last = 0;               /* rows committed: 1..last */
byte position = 0;
byte trimmed = 0;            /* rows 1..trimmed are gone */
bool sent[4];
byte crashes = 0;
bool lost = false;           /* trimmed and never sent */
byte reader = 0;
bool told = false;
bool missed = false;
bool producing = true;

proctype Producer() {
  do
  :: last < ROWS -> last++                                  /* the commit of the row is one step */
  :: last == ROWS -> break
  od;
  producing = false
}

proctype Relay() {
  byte upto;
again:
  upto = position;
  do
  :: upto < last -> upto++; sent[upto] = true
  :: upto > position ->
     if
     :: atomic { crashes < CRASHES -> crashes++; goto again }  /* dies between send and settle: sends the same again */
     :: position = upto; goto again
     fi
  :: atomic { upto == last && position == last && !producing -> break }
  od
}

proctype Trimmer() {
  do
  :: atomic { trimmed < position -> trimmed++; if :: !sent[trimmed] -> lost = true :: else -> skip fi }
  :: atomic { !producing && position == ROWS -> break }
  od
}

proctype Reader() {
  do
  :: atomic { reader < trimmed -> told = true; reader = trimmed }   /* LEDGER_TRIMMED */
  :: atomic { reader >= trimmed && reader < last -> reader++; if :: reader <= trimmed && !told -> missed = true :: else -> skip fi }
  :: atomic { reader == last && !producing -> break }
  od
}

init { atomic { run Producer(); run Relay(); run Trimmer(); run Reader() } }

ltl all { <> (sent[1] && sent[2] && sent[3]) }
ltl kept { [] (!lost && !missed) }
