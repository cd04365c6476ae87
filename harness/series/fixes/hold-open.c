/* check-fixes puts this into reuseport_array_free() of Linux's own map, before the lock is
 * taken: free waits until the socket that it has read from a slot is in another map, for ten
 * seconds at most. Sleeping in an RCU read-side section is wrong, and does no harm on UML:
 * the test keeps the socket.
 */
unsigned long end = jiffies + 10 * HZ;
void *here = READ_ONCE(sk->sk_user_data), *now;

do {
	schedule_timeout_uninterruptible(1);
	now = READ_ONCE(sk->sk_user_data);
} while ((!now || now == here) && time_before(jiffies, end));
