/*
 * The relay's lease with fencing: two relays, one of which may freeze between its send and its settle, a lease that runs
 * out at any moment (time is not modelled: expiry is a choice), and a position that only the holder of the newest epoch
 * may move. Rows are sent from the position on, so that a row may go out twice, and never not at all.
 *
 * Safety: the position never passes a row that was not confirmed; nobody of an older epoch moves it.
 * Liveness: under weak fairness every row is settled, once crashes and freezes are used up.
 */
#define ROWS 3
#define TROUBLES 3

byte position = 0;
byte epoch = 0;
byte holder = 0;             /* 0: nobody */
bool confirmed[4];           /* by row, 1-based */
byte troubles = 0;
bool wrongEpoch = false;

proctype Relay(byte me) {
  byte mine, upto, row;
acquire:
  if
  :: position == ROWS -> goto done
  :: position < ROWS && holder == 0 -> atomic { holder == 0 -> epoch++; holder = me; mine = epoch }
  :: atomic { position < ROWS && holder != 0 && holder != me && troubles < TROUBLES -> troubles++; epoch++; holder = me; mine = epoch } /* it ran out */
  fi;
  upto = position;
send:
  do
  :: upto < ROWS -> upto++; confirmed[upto] = true      /* sent, and the broker's word for it */
  :: upto > position -> break
  :: upto == ROWS -> break
  :: atomic { troubles < TROUBLES -> troubles++; if :: holder == me && mine == epoch -> holder = 0 :: else -> skip fi; goto acquire } /* died: starts anew */
  od;
  /* freezes here for as long as it likes: the other may take over */
settle:
  atomic {
    if
    :: mine == epoch && holder == me ->
       if :: upto > position -> position = upto :: else -> skip fi;
       if :: mine != epoch -> wrongEpoch = true :: else -> skip fi
    :: else -> skip          /* refused: LEASE_LOST */
    fi
  }
  if
  :: position == ROWS -> atomic { if :: holder == me && mine == epoch -> holder = 0 :: else -> skip fi }; goto done
  :: else -> atomic { if :: holder == me && mine == epoch -> holder = 0 :: else -> skip fi }; goto acquire
  fi;
done:
  skip
}

init { atomic { run Relay(1); run Relay(2) } }

ltl settled { <> (position == ROWS) }
ltl honest { [] (!wrongEpoch && (position < 1 || confirmed[1]) && (position < 2 || confirmed[2]) && (position < 3 || confirmed[3])) }
