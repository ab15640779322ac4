"""People, their sessions and API tokens; the audit log.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SAID = "the audit log is append-only"
FUNCTION = f"""
CREATE FUNCTION headgate_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{SAID}'; END $$
"""


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def _moment(name: str, *, known: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Float, nullable=not known)


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("name", sa.Text, primary_key=True),
        *_text("role", "tenant", "password"),
        _moment("created"),
        _moment("changed"),
        _moment("sessions_from"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("person"),
        _moment("began"),
        _moment("seen"),
        *_text("address"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("name", "hash", "role", "tenant", "made_by"),
        _moment("created"),
        _moment("expires", known=False),
        _moment("revoked", known=False),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "audit_log",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        _moment("at"),
        *_text("actor", "role", "way", "address", "action", "subject", "tenant", "before", "after"),
        *_text("previous", "hash"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FUNCTION)
        for when, each in (("UPDATE OR DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
            name = "audit_log_append_only" if each == "ROW" else "audit_log_never_empty"
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {when} ON audit_log FOR EACH {each} "
                "EXECUTE FUNCTION headgate_append_only()"
            )
    else:
        for when in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_no_{when.lower()} BEFORE {when} ON audit_log "
                f"BEGIN SELECT RAISE(ABORT, '{SAID}'); END"
            )


def downgrade() -> None:
    for table in ("audit_log", "api_tokens", "sessions", "people"):
        op.drop_table(table)  # a table's triggers go with it
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION headgate_append_only()")
