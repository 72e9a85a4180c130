"""The one door to SQLAlchemy: tables, unit of work, queries."""
