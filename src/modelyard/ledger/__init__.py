"""The ledger: usage folded from the journals into the database, the only truth for quotas and bills."""
