from abc import ABCMeta, abstractmethod
from datetime import datetime

class Trigger(metaclass=ABCMeta):
    @abstractmethod
    def next(self) -> datetime | None: ...
    @abstractmethod
    def __getstate__(self) -> object: ...
    @abstractmethod
    def __setstate__(self, state: object) -> None: ...
