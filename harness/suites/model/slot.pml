/* SPDX-License-Identifier: GPL-2.0 */
/* Slots, sockets and maps of kernel/bpf/reuseport_array.c, for exhaustive checking
 * with SPIN: harness/suites/model/check-model.
 *
 * Each access to memory that others can see at that moment is a step of its own, so
 * every order in which CPUs can do theirs is looked at. What is only read and written
 * under the lock goes along with its neighbour. Memory is sequentially consistent
 * here; where the kernel relies on that it uses xchg(), cmpxchg(), the lock or RCU. The
 * checks that an update makes before it takes the lock are left out: they only reject
 * calls.
 *
 * Asserted, in every state that is reached:
 *  - memory of a map or a socket is not touched after it was freed;
 *  - a socket is in at most one slot of the maps that can be looked up, and points
 *    back to it;
 *  - no such slot holds a socket that was closed.
 *
 * Three ways to break it, each of which has to be found:
 *  -DUNCONDITIONAL_CLEAR	free clears the back pointer without comparing
 *  -DCOMPARE_THEN_STORE	free compares the back pointer, then clears it
 *  -DNO_GRACE_PERIOD		free does not wait before it frees the memory
 */
#define MAPS	2
#define SOCKETS	2
#define SLOTS	3	/* of all maps: 0 and 1 are those of map 0, 2 is that of map 1 */
#define MAP(slot)	(slot / 2)
#define NONE	255

/* struct reuseport_array; a slot's number stands for array and index */
byte slot[SLOTS] = NONE;
byte count[MAPS];		/* elem_count */
byte map_users[MAPS];		/* calls and programs that hold a reference */
bool map_dying[MAPS];		/* the last reference is gone */
bool map_freed[MAPS];

/* struct sock */
byte sk_slot[SOCKETS] = NONE;	/* reuseport_backref: array and index */
bool sk_member[SOCKETS];	/* sk_reuseport_cb */
byte sk_users[SOCKETS];		/* calls that hold the socket's file */
bool sk_dying[SOCKETS];		/* the last reference to the file is gone */
bool sk_closed[SOCKETS];
bool sk_freed[SOCKETS];

/* reuseport_lock */
bool locked;

/* Both are followed or preceded by what belongs to the same step. Slots are only
 * written under the lock, so they are looked at when it is given back.
 */
#define LOCK	!locked -> locked = true
#define UNLOCK	slots_are_right(); locked = false

inline slots_are_right()
{
	d_step {
		i = 0;
		do
		:: i < SLOTS ->
			if
			:: slot[i] != NONE && !map_dying[MAP(i)] ->
				assert(!sk_closed[slot[i]]);
				assert(sk_slot[slot[i]] == i);
				j = i + 1;
				do
				:: j < SLOTS ->
					assert(map_dying[MAP(j)] || slot[j] != slot[i]);
					j++
				:: else -> break
				od
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		j = 0
	}
}

/* RCU. A grace period ends when every section has ended that was open at its
 * start. A process is a bit; each has one section at most, and one grace period.
 */
short rcu_open;
short rcu_waits_for[8];

inline rcu_read_lock()
{
	rcu_open = rcu_open | (1 << _pid)
}

inline rcu_read_unlock()
{
	d_step {
		rcu_open = rcu_open & ~(1 << _pid);
		i = 0;
		do
		:: i < 8 -> rcu_waits_for[i] = rcu_waits_for[i] & ~(1 << _pid); i++
		:: else -> break
		od;
		i = 0
	}
}

inline synchronize_rcu()
{
	rcu_waits_for[_pid] = rcu_open;
	rcu_waits_for[_pid] == 0
}

/* bpf_sk_reuseport_detach(), the lock is held, which makes it an RCU section too */
inline detach(sk)
{
	if
	:: sk_slot[sk] == NONE
	:: sk_slot[sk] != NONE ->
		rcu_read_lock();
		/* xchg() */
		d_step { assert(!sk_freed[sk]); was = sk_slot[sk]; sk_slot[sk] = NONE };
		if
		:: was != NONE ->
			atomic { assert(!map_freed[MAP(was)]); slot[was] = NONE };
			/* bpf_map_dec_elem_count() */
			atomic { assert(!map_freed[MAP(was)]); count[MAP(was)]-- };
			was = NONE
		:: else
		fi;
		rcu_read_unlock()
	fi
}

/* reuseport_array_commit(), for a socket */
inline commit(s, sk)
{
	atomic { LOCK; old = slot[s] };
	if
	:: sk_member[sk] && sk_slot[sk] == NONE ->
		atomic { assert(!sk_freed[sk]); sk_slot[sk] = s };
		atomic { assert(!map_freed[MAP(s)]); slot[s] = sk };
		if
		:: old != NONE -> atomic { assert(!sk_freed[old]); sk_slot[old] = NONE }
		:: else -> count[MAP(s)]++
		fi
	:: else
	fi;
	atomic { UNLOCK; old = NONE; sk_users[sk]--; map_users[MAP(s)]--; s = 0; sk = 0 }
}

/* reuseport_array_commit(), without a socket */
inline delete(s)
{
	atomic { LOCK; sk = slot[s] };
	if
	:: sk != NONE -> detach(sk)
	:: else
	fi;
	atomic { UNLOCK; map_users[MAP(s)]--; s = 0; sk = 0 }
}

/* A process that updates and deletes. A call holds the map, an update also the file of
 * the socket. Slot 1 is there for socket 0 to move to: what else could happen in it also
 * happens in slot 0.
 */
#define UPDATE(S, SK) \
	atomic { !map_dying[MAP(S)] && !sk_dying[SK] -> \
		 s = S; sk = SK; map_users[MAP(S)]++; sk_users[SK]++ }
#define DELETE(S) \
	atomic { !map_dying[MAP(S)] -> s = S; map_users[MAP(S)]++ }

proctype user()
{
	byte s, sk, i, j, old = NONE, was = NONE;

end:	do
	:: if
	   :: UPDATE(0, 0)
	   :: UPDATE(0, 1)
	   :: UPDATE(1, 0)
	   :: UPDATE(2, 0)
	   :: UPDATE(2, 1)
	   fi;
	   commit(s, sk)
	:: if
	   :: DELETE(0)
	   :: DELETE(2)
	   fi;
	   delete(s)
	od
}

/* What happens to a socket: it joins a group and leaves it, again and again, until it
 * is closed. net/core/sock_reuseport.c, and sk_destruct() for the memory.
 */
proctype socket(byte sk)
{
	byte i, j, was = NONE;

end:	do
	:: !sk_member[sk] ->			/* reuseport_alloc(), reuseport_add_sock() */
		atomic { LOCK; sk_member[sk] = true; UNLOCK }
	:: sk_member[sk] ->			/* reuseport_detach_sock() */
		atomic { LOCK };
		detach(sk);
		atomic { sk_member[sk] = false; UNLOCK }
	:: atomic { sk_users[sk] == 0 -> sk_dying[sk] = true } ->
		atomic { LOCK };
		detach(sk);
		atomic { sk_member[sk] = false; sk_closed[sk] = true; UNLOCK };
		synchronize_rcu();		/* SOCK_RCU_FREE */
		sk_freed[sk] = true;
		break
	od
}

/* What reuseport_array_free() does with a slot. It compares the array, not the slot. */
inline unlink_slot(s)
{
	sk = slot[s];
	if
	:: sk != NONE ->
#if defined(UNCONDITIONAL_CLEAR)
		atomic { assert(!sk_freed[sk]); sk_slot[sk] = NONE; sk = NONE }
#elif defined(COMPARE_THEN_STORE)
		assert(!sk_freed[sk]);
		if
		:: sk_slot[sk] != NONE && MAP(sk_slot[sk]) == MAP(s) -> sk_slot[sk] = NONE
		:: else
		fi;
		sk = NONE
#else
		/* cmpxchg() */
		atomic {
			assert(!sk_freed[sk]);
			if
			:: sk_slot[sk] != NONE && MAP(sk_slot[sk]) == MAP(s) -> sk_slot[sk] = NONE
			:: else
			fi;
			sk = NONE
		}
#endif
	:: else
	fi
}

/* reuseport_array_free() */
proctype free(byte m)
{
	byte i, sk = NONE;

end:	atomic { map_users[m] == 0 -> map_dying[m] = true };
	if
	:: count[m] != 0 ->
		rcu_read_lock();
		if
		:: m == 0 -> unlink_slot(0); unlink_slot(1)
		:: else -> unlink_slot(2)
		fi;
		rcu_read_unlock()
	:: else
	fi;
#ifndef NO_GRACE_PERIOD
	synchronize_rcu();
#endif
	map_freed[m] = true
}

/* sk_select_reuseport(): a program holds its map, and runs under RCU */
proctype program(byte m)
{
	byte i, sk = NONE;

end:	do
	:: atomic { !map_dying[m] -> map_users[m]++; rcu_read_lock() };
	   sk = slot[m];
	   atomic {
		assert(!map_freed[m] && (sk == NONE || !sk_freed[sk]));
		rcu_read_unlock();
		map_users[m]--;
		sk = NONE
	   }
	od
}

init
{
	atomic {
		run user();
		run socket(0);
		run socket(1);
		run free(0);
		run free(1);
		run program(0)
	}
}
