/*
 * The inbox with attempts and failures: one message, delivered again whenever it was not acknowledged, to either of two
 * consumers. The inbox row, the effect and the verdict commit in one step; the acknowledgement follows it. A consumer may
 * die before or after its commit. A run may throw; after the second one the message is parked, in the same commit.
 *
 * Safety: one effect at most; never an effect and a dead letter; acknowledged only after effect, dead letter or a row that
 * waits; runs never above their number.
 * Liveness: it ends in an effect or a dead letter.
 */
#define ATTEMPTS 2
#define CRASHES 3

byte queued = 1;             /* copies at the broker that are not acknowledged */
bool inbox = false;
bool waits = false;          /* a row that is to be run again */
byte attempts = 0;
byte effects = 0;
bool dead = false;
byte crashes = 0;
bool early = false;          /* acknowledged with nothing of it in the database */
byte claimed = 0;            /* who runs the row that waits */

inline verdict() {
  if
  :: effects++; waits = false                               /* it worked */
  :: attempts < ATTEMPTS -> attempts++;                      /* it threw */
     if
     :: attempts == ATTEMPTS -> dead = true; waits = false
     :: else -> waits = true
     fi
  fi
}

proctype Consumer(byte me) {
  do
  :: atomic { queued > 0 && !(effects > 0 || dead) || queued > 0 -> skip } ;
     /* holds a delivery; dies before its commit: it comes again */
     if
     :: atomic { crashes < CRASHES -> crashes++ }
     :: atomic {
          if
          :: !inbox -> inbox = true; verdict()
          :: else -> skip                                    /* a duplicate */
          fi
        };
        if
        :: atomic { crashes < CRASHES -> crashes++ }         /* dies before its acknowledgement */
        :: atomic {
             if :: queued > 0 -> queued-- :: else -> skip fi;
             if :: !inbox -> early = true :: else -> skip fi
           }
        fi
     fi
  :: atomic { waits && claimed == 0 -> claimed = me };
     if
     :: atomic { crashes < CRASHES -> crashes++; claimed = 0 } /* its claim runs out */
     :: atomic { if :: waits && claimed == me -> verdict() :: else -> skip fi; claimed = 0 }
     fi
  :: atomic { queued == 0 && !waits -> break }
  od
}

init { atomic { run Consumer(1); run Consumer(2) } }

ltl ends { <> (effects > 0 || dead) }
ltl once { [] (effects <= 1 && !(effects > 0 && dead) && !early && attempts <= ATTEMPTS) }
