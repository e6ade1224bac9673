"""
Enqueue from Django once the transaction has committed. An order that is rolled back costs nothing.

Run it with the address of a picture: `python examples/django_on_commit.py https://…/in.png`. This file is a whole
project with a database in memory. In your own project, you need only a function like `take_order`.
"""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.db import connection, transaction

from retouch import Edit, EditQueue

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()


class Rejected(Exception):
    """The order was refused."""


def take_order(queue: EditQueue, number: int, picture: str, *, in_stock: bool) -> None:
    """Store the order, and enqueue its edit when the transaction commits."""
    edit = Edit(prompt="make it winter", init_image=picture)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (%s)", [number])
        transaction.on_commit(lambda: print(queue.enqueue(edit, idempotency_key=f"order-{number}").id))
        if not in_stock:
            raise Rejected(f"order {number} is out of stock")


def main(picture: str) -> int:
    """Take order 17, which is committed, and order 18, which is rolled back. Only the edit of order 17 is enqueued."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
    with EditQueue() as queue:
        take_order(queue, 17, picture, in_stock=True)
        try:
            take_order(queue, 18, picture, in_stock=False)
        except Rejected as error:
            print(f"{error}: nothing was enqueued")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
