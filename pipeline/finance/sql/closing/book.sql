insert into raw.booked_costs by name select * from current_costs where month = $$1;

insert into raw.booked_chargeback by name select * from intermediate.int_chargeback_months where month = $$1;
