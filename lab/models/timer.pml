/*
 * A saga's timer with generation and tombstone: the saga is started, sets a timer, may cancel it or set it anew, and ends;
 * the timer's message may come late, twice, or after the end; a message that would start the saga again comes late too.
 *
 * Safety: a timer acts at most once per setting, never after it was cancelled or set anew, and nothing acts after the end;
 * the late start does not begin a second life.
 * Liveness: the saga ends.
 */
#define SETTINGS 2

mtype = { none, running, ended };
mtype saga = none;
byte generation = 0;
byte fired = 0;              /* the generation that acted last */
bool armed = false;
byte inflight[3];            /* copies of the timer's message, by generation */
byte starts = 2;             /* copies of the starting message: delivered twice */
bool wrong = false;
byte lives = 0;

active proctype Saga() {
  byte got;
  do
  :: atomic { starts > 0 -> starts--;
       if
       :: saga == none -> saga = running; lives++; generation = 1; armed = true; inflight[1] = 2
       :: else -> skip                                       /* known, or a tombstone */
       fi }
  :: atomic { saga == running && armed && generation < SETTINGS -> generation++; inflight[generation] = 2 } /* set anew */
  :: atomic { saga == running && armed && generation == SETTINGS -> armed = false }                        /* cancelled */
  :: atomic { inflight[1] > 0 -> inflight[1]--; got = 1; 
       if
       :: saga == running && armed && generation == got -> 
          if :: fired == got -> wrong = true :: else -> skip fi;
          fired = got; armed = false
       :: else -> skip                                       /* late: counted, nothing done */
       fi }
  :: atomic { inflight[2] > 0 -> inflight[2]--; got = 2; 
       if
       :: saga == running && armed && generation == got -> 
          if :: fired == got -> wrong = true :: else -> skip fi;
          fired = got; armed = false
       :: else -> skip
       fi }
  :: atomic { saga == running && !armed -> saga = ended }
  :: atomic { saga == ended && starts == 0 && inflight[1] == 0 && inflight[2] == 0 -> break }
  od
}

ltl ends { <> (saga == ended) }
ltl tame { [] (!wrong && lives <= 1) }
