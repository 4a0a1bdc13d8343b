"""The one gate in front of every call: who asks, with which right, and the record of what it used. No SQL on a call's path."""
