"""What people answer, kept in a database: SQLite in the study's folder, or PostgreSQL by its address.

An answer is written, and on disk, before its person sees the next page. Of a person there are a
random id, the kind of device and the order of coming, and nothing else.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import Engine, event, inspect
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, col, create_engine, delete, func, select

from cofire.errors import CofireError, ResultError
from cofire.storage import checksum_of_json
from cofire.trust.design import Study

_SECONDS = 10
"""So long a database may take to answer before it counts as away."""


class Person(SQLModel, table=True):
    """Somebody who takes part.

    Attributes:
        number: In the order of coming, from 1.
        id: Random.
        device: "phone", "tablet", "computer" or "other".
    """

    __tablename__ = "trust_person"
    # The number of somebody who withdrew is not given to another.
    __table_args__: ClassVar[dict[str, bool]] = {"sqlite_autoincrement": True}

    number: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)
    device: str


class Answer(SQLModel, table=True):
    """What one person says of one pair of maps; there is one of each.

    Attributes:
        person: Their number.
        place: Of the page, from 1.
        kind: "pair", "repeat" or "check", as `cofire.trust.design.Trial` has it.
        image: What was shown.
        method: That drew the maps.
        left: Which of the two maps was on the left, "first" or "second".
        chosen: The side of the map that describes the object better, "left" or "right".
        left_rating: How reliable the left map is, 1 to 5.
        right_rating: How reliable the right one is.
        seconds: From the page's making to the answer.
    """

    __tablename__ = "trust_answer"

    person: int = Field(primary_key=True, foreign_key="trust_person.number")
    place: int = Field(primary_key=True)
    kind: str
    image: str
    method: str
    left: str
    chosen: str
    left_rating: int
    right_rating: int
    seconds: float


class _Whose(SQLModel, table=True):
    """Which study a database belongs to, and the key that its forms are signed with."""

    __tablename__ = "trust_study"

    id: int = Field(default=1, primary_key=True)
    study: str
    key: str


class Answers:
    """The database of a study.

    Args:
        address: Such as "sqlite:///study/answers.db" or "postgresql://user@host/name".
        study: Whose answers they are.
        begun: Whether there must be answers, rather than an empty database to fill.

    Attributes:
        key: That forms are signed with; made once for each database.

    Raises:
        ResultError: The database cannot be reached, or holds the answers of another study or none.
    """

    TABLES: ClassVar[list[Any]] = [Person, Answer, _Whose]

    def __init__(self, address: str, study: Study, *, begun: bool = False) -> None:
        # What an address tells in messages, without its password.
        self.told = told = _told(address)
        if not address.startswith("sqlite") and address.count("@") > 1:
            # A driver takes what follows the first one for the host, and tells it.
            raise ResultError(
                f"the database '{told}' with several @",
                "an address with one, before the host",
                "write %40 in place of each @ of its password",
            )
        with _reached(told):
            self.engine = _engine(address)
        try:
            self.key = self._key(checksum_of_json(study.described()), begun)
        except BaseException:
            self.close()
            raise

    def _key(self, whose: str, begun: bool) -> str:
        with _reached(self.told):
            if begun and not inspect(self.engine).has_table(_Whose.__tablename__):
                raise ResultError(
                    f"'{self.told}', where no study was served",
                    "the database that cofire trust serve was given",
                    "correct --database, or serve the study first",
                )
            SQLModel.metadata.create_all(self.engine, [kind.__table__ for kind in self.TABLES])
            with Session(self.engine) as session:
                session.add(_Whose(study=whose, key=secrets.token_hex(32)))
                with _once(session):
                    session.commit()
                found = session.exec(select(_Whose)).one()
        if found.study != whose:
            raise ResultError(
                f"'{self.told}' holds the answers of another study",
                "a database of its own for each study",
                "pass another --database, or the folder that these answers are of",
            )
        return found.key

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def begin(self, person: str, device: str) -> Person:
        """The person of an id, who has begun by then; one who began before is the same."""
        asked = select(Person).where(Person.id == person)
        with Session(self.engine, expire_on_commit=False) as session:
            # Sides and orders follow from numbers: one that is tried in vain may be used up.
            if (found := session.exec(asked).one_or_none()) is not None:
                return found
            session.add(Person(id=person, device=device))
            with _once(session):
                session.commit()
            return session.exec(asked).one()

    def find(self, person: str) -> tuple[Person, int] | None:
        """A person, and how many pages they have answered; None for nobody."""
        with Session(self.engine) as session:
            answered = select(func.count()).where(Answer.person == Person.number).scalar_subquery()
            return session.exec(select(Person, answered).where(Person.id == person)).first()

    def keep(self, answer: Answer) -> None:
        """Write an answer; where there is one of that person and page, it stays as it is."""
        with Session(self.engine) as session:
            session.add(answer)
            with _once(session):
                session.commit()

    def withdraw(self, person: str) -> None:
        """Forget a person and all that they answered, in the files of SQLite too once nobody reads them."""
        with Session(self.engine) as session:
            # An answer that is being written is waited for.
            found = session.exec(
                select(Person).where(Person.id == person).with_for_update()
            ).first()
            if found is not None:
                session.exec(delete(Answer).where(col(Answer.person) == found.number))
                session.delete(found)
                session.commit()
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def people(self) -> list[str]:
        """The ids of all who began, in the order of coming."""
        with _reached(self.told), Session(self.engine) as session:
            return list(session.exec(select(Person.id).order_by(col(Person.number))))

    def all(self) -> list[tuple[Person, Answer]]:
        """Every answer with its person, in the order of coming and answering."""
        with _reached(self.told), Session(self.engine) as session:
            asked = select(Person, Answer).where(Answer.person == Person.number)
            return list(session.exec(asked.order_by(col(Answer.person), col(Answer.place))))


def _told(address: str) -> str:
    """An address without its password, which may hold any sign or stand among the options.

    Example:
        >>> _told("postgresql://me:a@b/c?d@host/name?password=e"), _told("sqlite:///study/answers.db")
        ('postgresql://me:***@host/name', 'sqlite:///study/answers.db')
    """
    return re.sub(r"//([^:@/]*):.*@", r"//\1:***@", address).partition("?")[0]


def _engine(address: str) -> Engine:
    # The driver that the extra brings.
    address = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", address)
    if not address.startswith("sqlite"):
        wait = {"connect_timeout": _SECONDS}
        return create_engine(
            address, pool_size=20, pool_pre_ping=True, pool_timeout=_SECONDS, connect_args=wait
        )
    engine = create_engine(address, pool_timeout=_SECONDS, connect_args={"timeout": _SECONDS})

    @event.listens_for(engine, "connect")
    def safe(connection: Any, _: Any) -> None:
        # What is committed is on disk, and readers do not wait for writers.
        # What is deleted is overwritten: who withdraws has to be gone from the file as well.
        for said in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {said}")

    return engine


@contextmanager
def _once(session: Session) -> Iterator[None]:
    """What is there already stays."""
    try:
        yield
    except IntegrityError:
        session.rollback()


@contextmanager
def _reached(told: str) -> Iterator[None]:
    try:
        yield
    except CofireError:
        raise
    except (
        Exception
    ) as error:  # drivers have kinds of their own, and of damaged rows any kind comes
        said = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise ResultError(
            f"the database '{told}' does not answer: {said}",
            "a database that runs and lets this user in",
            "start it, correct --database, or leave that out for a file in the study's folder",
        ) from error
