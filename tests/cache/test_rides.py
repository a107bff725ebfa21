from gateway.cache.rides import LONGEST_SECONDS, Rides
from gateway.model import Id

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")


def test_an_id_rides_until_twelve_hours_after_its_first_ride():
    rides = Rides()
    assert rides.may_ride(ONE, 0.0)
    rides.rode([ONE], 0.0)
    rides.rode([ONE], LONGEST_SECONDS - 1)
    assert rides.may_ride(ONE, LONGEST_SECONDS - 1)
    assert not rides.may_ride(ONE, LONGEST_SECONDS)


def test_an_id_that_is_asked_for_may_ride_for_another_twelve_hours():
    rides = Rides()
    rides.rode([ONE], 0.0)
    rides.answered([ONE])
    rides.rode([ONE], LONGEST_SECONDS)
    assert rides.may_ride(ONE, LONGEST_SECONDS + 1)


def test_an_id_of_a_failed_call_does_not_ride_again_until_it_is_asked_for():
    rides = Rides()
    rides.rode([ONE], 0.0)
    rides.failed([ONE, TWO])
    assert not rides.may_ride(ONE, 1.0)
    assert not rides.may_ride(TWO, 1.0)
    rides.answered([ONE, TWO])
    assert rides.may_ride(ONE, 2.0)
    assert rides.may_ride(TWO, 2.0)


def test_only_ids_that_rode_are_counted_as_used_and_only_once():
    rides = Rides()
    rides.rode([ONE, TWO], 0.0)
    rides.failed([TWO])
    assert rides.answered([ONE, TWO, THREE]) == 1
    assert rides.answered([ONE, TWO, THREE]) == 0
    assert not rides


def test_an_id_that_is_dropped_leaves_nothing():
    rides = Rides()
    rides.rode([ONE], 0.0)
    rides.drop([ONE, TWO])
    assert not rides
    assert ONE not in rides
